"""Writes the JSON Schemas anew after the models have changed."""

from fairmark.load.schemas import FOLDER, documents

for name, content in documents().items():
    (FOLDER / name).write_text(content, encoding="utf-8", newline="\n")
