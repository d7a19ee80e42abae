"""People mark: which responses, who, in which order; what they say and take back; and how disagreements are settled."""

from fairmark.people.adjudicate import Adjudication, Disagreement, Proposal, Settlement
from fairmark.people.assign import Draw, Verdict, Where, draw, drawn, eligible, strata_of, where
from fairmark.people.cells import cells
from fairmark.people.codes import Coding
from fairmark.people.desk import Desk, Done, Pane, Progress, View, person_grader
from fairmark.people.export import MarkRow, export_marks, write_marks
from fairmark.people.marks import Note, Said, State, said_of
from fairmark.people.overview import Marker, Overview, gives_away, overview

__all__ = [
    "Adjudication",
    "Coding",
    "Desk",
    "Disagreement",
    "Done",
    "Draw",
    "MarkRow",
    "Marker",
    "Note",
    "Overview",
    "Pane",
    "Progress",
    "Proposal",
    "Said",
    "Settlement",
    "State",
    "Verdict",
    "View",
    "Where",
    "cells",
    "draw",
    "drawn",
    "eligible",
    "export_marks",
    "gives_away",
    "overview",
    "person_grader",
    "said_of",
    "strata_of",
    "where",
    "write_marks",
]
