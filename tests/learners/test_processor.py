"""Settings that make training faster on a CPU leave float32 products precise."""

import ctypes
import sys
from typing import Any

import pytest
import torch

from learners.lib import processor
from learners.lib.processor import error_of_product, fast_are_precise, fast_products

matmul: Any = getattr(torch.backends.mkldnn, "matmul", None)
needs_choice = pytest.mark.skipif(
    matmul is None, reason="torch before 2.9 has no choice of products"
)


@pytest.fixture(autouse=True)
def plain_products():
    fast_are_precise.cache_clear()
    before = matmul and matmul.fp32_precision
    if matmul:
        matmul.fp32_precision = "ieee"
    yield
    if matmul:
        matmul.fp32_precision = before
    fast_are_precise.cache_clear()


def test_fast_products_are_precise():
    with fast_products():
        assert error_of_product(300, 128, 64) < processor.PRECISE


@needs_choice
def test_products_are_fast_only_inside(monkeypatch):
    monkeypatch.setattr(processor, "error_of_product", lambda *shape: 0.0)
    monkeypatch.setattr(processor, "intel", lambda: False)
    with fast_products():
        assert matmul.fp32_precision == processor.FAST
    assert matmul.fp32_precision == "ieee"
    with pytest.raises(ZeroDivisionError), fast_products():
        raise ZeroDivisionError
    assert matmul.fp32_precision == "ieee"


@needs_choice
def test_a_processor_that_rounds_keeps_its_products(monkeypatch):
    monkeypatch.setattr(processor, "error_of_product", lambda *shape: 2.0**-9)
    with fast_products():
        assert matmul.fp32_precision == "ieee"


def test_rounding_to_bfloat16_is_noticed(monkeypatch):
    """The bound lies between the errors of both kinds of products."""
    product = torch.Tensor.__matmul__
    assert error_of_product(64, 16, 64) < processor.PRECISE

    def rounded(a, b):
        if a.dtype == torch.float64:  # the exact product
            return product(a, b)
        return product(a.bfloat16().float(), b.bfloat16().float())

    monkeypatch.setattr(torch.Tensor, "__matmul__", rounded)
    assert error_of_product(64, 16, 64) > 10 * processor.PRECISE


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's mallopt")
def test_memory_is_kept(monkeypatch):
    calls = []

    class Library:
        def __init__(self, name):
            pass

        def mallopt(self, name, value):
            calls.append((name, value))
            return 1

    monkeypatch.setattr(ctypes, "CDLL", Library)
    processor.keep_memory()
    assert dict(calls) == {processor.MMAP_THRESHOLD: 32 << 20, processor.TRIM_THRESHOLD: 1 << 30}


@needs_choice
def test_processors_of_intel_keep_mkl(monkeypatch):
    monkeypatch.setattr(processor, "error_of_product", lambda *shape: 0.0)
    monkeypatch.setattr(processor, "intel", lambda: True)
    with fast_products():
        assert matmul.fp32_precision == "ieee"
