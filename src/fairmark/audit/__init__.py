"""Planned experiments on one LLM grader: what is asked, and what the answers say about it.

`plan` makes tasks, somebody asks them as any other grades, and `read` makes the report of the filled plan.
"""

from fairmark.audit.attacks import ATTACKS, CARRIERS
from fairmark.audit.planning import CASES, EXPERIMENTS, AuditPlan, Probe, Untested, plan
from fairmark.audit.reading import Arm, AuditReport, Finding, read

__all__ = ["ATTACKS", "CARRIERS", "CASES", "EXPERIMENTS", "Arm", "AuditPlan", "AuditReport", "Finding", "Probe", "Untested", "plan", "read"]
