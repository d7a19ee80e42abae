"""People mark: which responses, who, in which order; what they say and take back; and how disagreements are settled."""

from fairmark.people.adjudicate import Adjudication, Disagreement, Proposal, Settlement
from fairmark.people.assign import Draw, Verdict, Where, draw, drawn, eligible, strata_of, where
from fairmark.people.cells import cells
from fairmark.people.desk import Desk, Done, Pane, Progress, View, person_grader
from fairmark.people.marks import Note, Said, State, said_of
from fairmark.people.overview import Marker, Overview, gives_away, overview

__all__ = [
    "Adjudication",
    "Desk",
    "Disagreement",
    "Done",
    "Draw",
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
    "gives_away",
    "overview",
    "person_grader",
    "said_of",
    "strata_of",
    "where",
]
