"""What people write as the nouns: study, rubric, cases, recordings, marks and bare tables, with every mistake in its place."""

from fairmark.load.bare import BareTable, bare_table, study_from_table
from fairmark.load.environment import environment
from fairmark.load.linting import lint
from fairmark.load.reading import study, study_files
from fairmark.load.scaffolding import scaffold

__all__ = ["BareTable", "bare_table", "environment", "lint", "scaffold", "study", "study_files", "study_from_table"]
