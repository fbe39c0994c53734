import numpy as np
import pandas as pd

from benchmarks.market_nights import _with_pool
from models.bundle import save_arrays
from models.embeddings import Embeddings


def test_texts_of_the_pool_that_the_loop_never_encoded_bring_their_own_vectors_once(tmp_path):
    Embeddings(("一", "二"), np.array([[1.0, 0.0], [0.0, 1.0]], np.float32)).save(tmp_path / "embeddings")
    (tmp_path / "pool").mkdir()
    save_arrays({"vectors": np.array([[9, 9], [3, 3], [3, 3], [4, 4]], np.float32)}, tmp_path / "pool" / "vectors.safetensors")
    found = _with_pool(tmp_path / "embeddings", tmp_path / "pool", pd.Series(["二", "三", "三", "四"]))
    assert found.texts == ("一", "二", "三", "四")
    np.testing.assert_array_equal(found.vectors, [[1, 0], [0, 1], [3, 3], [4, 4]])
