from dataclasses import dataclass

import numpy as np
import pytest
import torch

from models.generator.copy_model import CopyModel
from models.generator.decoder import CopyDecoder, DecoderShape
from models.generator.prompts import build_phrase_book, fit_feature_scale
from models.generator.request import CopyRequest, requests_of
from models.generator.slots import slots_of
from models.generator.training_copies import Copy, copies_of
from models.generator.vocabulary import Vocabulary, build_vocabulary
from tasks.sources.market.assortment import Assortment, draw_products
from tasks.sources.market.catalogue import load_categories, load_shared
from tasks.sources.market.copywriting import write_copies


@dataclass(frozen=True)
class Shop:
    products: dict[str, CopyRequest]
    copies: list[Copy]
    vocabulary: Vocabulary

    def model(self, *, d_feature: int = 5, seed: int = 3, slots: int = 3) -> CopyModel:
        torch.manual_seed(seed)
        features = np.random.default_rng(seed).normal(size=(4, d_feature)).astype(np.float32)
        book = build_phrase_book(list(self.products.values()))
        shape = DecoderShape(len(self.vocabulary), len(book.names) + 1, len(book.values) + 1, d_feature, 6, 16, 2, 4, 64, slots)
        return CopyModel(self.vocabulary, book, fit_feature_scale(features), CopyDecoder(shape).eval())


@pytest.fixture(scope="session")
def shop() -> Shop:
    rng, shared, categories = np.random.default_rng(5), load_shared(), load_categories()[:4]
    shelf = draw_products(categories, shared.anchors, 60, rng)
    assortment = Assortment(shelf, write_copies(categories, shelf, shared.offers, rng), {}, "test")
    products = requests_of(assortment.items_table())
    copies = copies_of(assortment.copies_table(), products, 120)
    phrases = [slot.value for request in products.values() for slot in slots_of(request)]
    return Shop(products, copies, build_vocabulary([copy.pieces for copy in copies], phrases, 2000))
