"""The parts of training copy generators: what is learned from, the networks, the choice."""
