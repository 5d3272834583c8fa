"""Every example in the documentation gives the result that it shows."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import convpool

README = Path(__file__).parents[1] / "README.md"
MODULES = [
    name
    for _, name, _ in pkgutil.walk_packages(convpool.__path__, "convpool.")
    if not name.rpartition(".")[2].startswith("_")
]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS


@pytest.mark.parametrize("name", ["convpool", *MODULES])
def test_examples_of_a_module(name: str) -> None:
    module = importlib.import_module(name)
    failed, _ = doctest.testmod(module, optionflags=FLAGS)
    assert failed == 0


def test_examples_of_the_readme() -> None:
    if not README.exists():
        pytest.skip("the tests were installed without README.md")
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    examples = "\n".join(block for block in blocks if ">>>" in block)
    if not examples:
        pytest.skip("README.md has no example with a result")
    test = doctest.DocTestParser().get_doctest(examples, {}, "README.md", str(README), 0)
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(test)
    assert failed == 0
