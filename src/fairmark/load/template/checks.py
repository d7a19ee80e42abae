"""Checks of your own. Each takes the answer (and the case, if it wants it) and returns a level, true or false, or a number."""


def tone(answer: str) -> str:
    """One of the levels of the criterion `helpful`."""
    if "Please" not in answer:
        return "bare"
    if len(answer.split()) < 6:
        return "unhelpful"
    return "caring" if "help" in answer else "helpful"
