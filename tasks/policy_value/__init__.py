"""The value of a policy on a log of one's own (docs/off-policy.md): read it, fit reward models, form the target policy, answer."""
