"""`python -m ops.documents`: make the documents that are derived from the code; `--check` names the stale ones."""

import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ops import reason_document, schema_document, sql_documents

ROOT = Path(__file__).resolve().parent.parent
COMMAND = "make documents"

# Each document by its path, and the function that makes its text. No file but these may stand in FOLDERS.
DOCUMENTS: Mapping[str, Callable[[], str]] = {
    **{f"docs/sql/{subject}.sql": partial(sql_documents.subject, subject) for subject in sql_documents.SUBJECTS},
    "docs/sql/lists.sql": sql_documents.lists,
    "docs/sql/migrations.sql": sql_documents.migrations,
    "docs/schema.md": schema_document.schema,
    "docs/reasons.md": reason_document.reasons_page,
}
FOLDERS = ("docs/sql",)


def main(arguments: list[str]) -> int:
    """Write what is not as it should be; `--check` says so instead."""
    if arguments not in ([], ["--check"]):
        print(f"usage: python -m ops.documents [--check], not {arguments}", file=sys.stderr)
        return 2
    problems = check(ROOT) if arguments else write(ROOT)
    print("\n".join(problems) or "The documents are as the code makes them.")
    return 1 if arguments and problems else 0


def check(root: Path, documents: Mapping[str, Callable[[], str]] = DOCUMENTS) -> list[str]:
    """A sentence for each file below `root` that is not what the code makes."""
    stale = [f"{name} is stale; run `{COMMAND}`." for name in sorted(_stale(root, documents))]
    return [*stale, *(f"{name} is made by nothing; remove it." for name in _left_over(root, documents))]


def write(root: Path, documents: Mapping[str, Callable[[], str]] = DOCUMENTS) -> list[str]:
    """Make them so; a sentence for each file that was changed."""
    stale = _stale(root, documents)
    for name, text in stale.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="utf-8")
    left_over = _left_over(root, documents)
    for name in left_over:
        (root / name).unlink()
    return [*(f"{name} is written." for name in stale), *(f"{name} is removed." for name in left_over)]


def _stale(root: Path, documents: Mapping[str, Callable[[], str]]) -> dict[str, str]:
    """The text of each document that is missing or differs."""
    texts = {name: make() for name, make in documents.items()}
    return {
        name: text
        for name, text in texts.items()
        if not (root / name).is_file() or (root / name).read_text(encoding="utf-8") != text
    }


def _left_over(root: Path, documents: Mapping[str, Callable[[], str]]) -> list[str]:
    there = [path for folder in FOLDERS for path in (root / folder).glob("*") if path.is_file()]
    return sorted(name for path in there if (name := path.relative_to(root).as_posix()) not in documents)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
