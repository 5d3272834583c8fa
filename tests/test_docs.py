"""Every example in the documentation gives the result that it shows."""

import doctest
import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import convpool

ROOT = Path(__file__).parents[1]
# None where the tests were installed without them.
PAGES = [path for path in [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md"))] if path.exists()]
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


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_examples_of_a_page(path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL)
    examples = "\n".join(block for block in blocks if ">>>" in block)
    test = doctest.DocTestParser().get_doctest(examples, {}, path.name, str(path), 0)
    failed, attempted = doctest.DocTestRunner(optionflags=FLAGS).run(test)
    assert attempted > 0, "no example with a result"
    assert failed == 0


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_of_a_page(path: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", path.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (path.parent / target).exists(), target
