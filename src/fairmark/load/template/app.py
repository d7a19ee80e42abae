"""Two small answering functions in place of your own application. Each takes the request and returns the answer."""

FACTS = (
    (("sunday",), "We are closed on Sunday."),
    (("open", "saturday"), "We open at 10 am."),
    (("daughter", "child"), "Cards are free for children."),
    (("card",), "A new card costs 5 euros."),
    (("renew",), "You can renew twice."),
    (("keep", "book how"), "Books may be kept four weeks."),
    (("room",), "Rooms can be booked until 8 pm."),
    (("late",), "A late return costs 50 cents a day."),
)


def _fact(request: str) -> str:
    text = request.lower()
    return next((fact for words, fact in FACTS if any(word in text for word in words)), "")


def short(request: str) -> str:
    return _fact(request) or "Please ask at the desk."


def careful(request: str) -> str:
    fact = _fact(request)
    if not fact:
        return "I do not know this one. Please ask at the desk, and we will find out."
    if "two days late" in request:
        fact = "For two days you pay 1 euro."
    if "?" in request:
        return f"{fact} Please bring your card to the desk to arrange it. May I help with anything else?"
    return f"{fact} Please bring your card to the desk to arrange it."
