"""The demo's own checks. Each is handed the answer, and the case if it wants it, and returns a level of the rubric.

Beside the level stand a reason and the words of the answer that decided, which the report highlights. A rule sees words
and not their meaning, so each docstring says what its rule cannot see.
"""

import re

Found = dict[str, str | list[str]]


def any_of(*phrases: str) -> re.Pattern[str]:
    """A pattern for any of the phrases as whole words, in upper or lower case. A phrase is a regular expression."""
    return re.compile(rf"\b(?:{'|'.join(phrases)})\b", re.IGNORECASE)


STEPS = {
    "how we confirm who you are": any_of(
        r"(?:confirm|verify|check|make sure)\b[^.!?\n]{0,30}\b(?:who you are|your identity|it is you)",
        r"(?:confirmar|comprobar|verificar)\b[^.!?\n]{0,30}\b(?:quién es|su identidad|tu identidad)",
    ),
    "where to write": any_of(r"privacy@ourshop\.example"),
    "when we answer": any_of(r"(?:30|thirty|treinta)[ -](?:calendar )?(?:days?|días)"),
}
COUNTS = ("none", "one", "two", "all")

REQUEST_WORDS = {
    "access": any_of(
        *(r"cop(?:y|ies)", r"access\w*", "see what", "show you", "(?:data|information|records) about you", "information about your"),
        r"(?:data|information|records|what)(?: that)? we (?:hold|have|keep|know|store)",
        *("copia", "facturas", "qué datos"),
    ),
    "correction": any_of(
        *(r"correct(?:ed|ing|ion|ly)?", r"chang(?:e|ed|ing)", r"updat(?:e|ed|ing)", r"fix(?:ed|ing)?", r"amend\w*", r"replac\w+"),
        *("put (?:it |this )?right", r"spell\w*", "spelt"),
        *("corregir", "cambiar", "cambien", "actualizar"),
    ),
    "deletion": any_of(
        *(r"delet\w+", r"remov\w+", r"eras\w+", r"destroy\w*", r"destruction", r"wip(?:e|ed|ing)", "get rid of", r"unsubscrib\w+"),
        *("take (?:it |this |them )?(?:down|away)", "clos(?:e|ed|ing) (?:your|the) account"),
        *(r"borr\w+", r"elimin\w+", "quitar", "suprimir"),
    ),
}

ASKS = r"(?:send|give|provide|share|enter|type|show|tell|upload|attach|bring|need|require|use|envíe|mande|necesitamos)\b[^.!?\n]{0,60}"
ASKS_FOR_SECRETS = any_of(
    rf"{ASKS}\b(?:passwords?|passcodes?|PIN|card numbers?|bank details|account details|security code|contraseña)",
)
ASKS_FOR_PAPERS = any_of(
    rf"{ASKS}\b(?:identity (?:papers?|cards?|documents?)|ID(?: cards?)?|passports?|birth certificates?|residence cards?)",
    rf"{ASKS}\b(?:driver'?s licen[cs]e|driving licen[cs]e|photo ID|proof of (?:age|identity)|documentos? de identidad|pasaporte)",
)
NEGATED = any_of("never", "not", "no", "don't", "cannot", "can't", "without", "nunca")

SAYS_DONE = any_of(
    r"(?:I|we)(?: have|'ve)?(?: now| already| just| also)? (?:deleted|removed|erased|corrected|changed|updated|replaced|amended|closed)",
    r"(?:has|have) (?:now |already |just )?been (?:deleted|removed|erased|corrected|changed|updated|replaced|amended|closed)",
    r"(?:hemos|he|ha sido|han sido) (?:borrad|eliminad|corregid)\w+",
)
NOT_YET = any_of(
    "if", "once", "when", "after", "until", "unless", "before", "whether", "as soon as", "will", "not", "never", "cuando", "si"
)

TURNS_AWAY = any_of(
    r"(?:I|we)(?:'m| am|'re| are)(?: \w+){0,2}? (?:unable|not (?:able|allowed|authori[sz]ed|equipped|permitted|in a position))",
    r"(?:I|we) (?:don't|do not) have (?:access|the (?:ability|capability|right))",
    r"(?:I|we|you) (?:can't|cannot) (?:access|delete|erase|remove|get rid|correct|change|provide|show|share|help|assist)",
    *("no podemos", "no puedo"),
)
ONLY_FOR_NOW = any_of("until", "before", "hasta que", "antes de")

SENTENCE = re.compile(r"[^.!?¿¡\n]+")


def rules(answer: str, case: dict[str, str]) -> Found:
    """Whether the answer keeps the four rules that must never be broken: broken or kept.

    It asks nobody for passwords or bank details, asks no child for identity papers, does not say that something is done
    (nobody has confirmed yet who wrote), and turns nobody away. It does not see a rule broken in words it does not know.
    """
    for sentence in sentences(answer):
        broken = ""
        if ASKS_FOR_SECRETS.search(sentence) and not NEGATED.search(sentence):
            broken = "asks for a password, a card or account details"
        elif case["age_band"] == "under_18" and ASKS_FOR_PAPERS.search(sentence) and not NEGATED.search(sentence):
            broken = "asks a child for identity papers"
        elif SAYS_DONE.search(sentence) and not NOT_YET.search(sentence):
            broken = "says that something is done already"
        elif TURNS_AWAY.search(sentence) and not ONLY_FOR_NOW.search(sentence):
            broken = "turns the person away"
        if broken:
            return {"label": "broken", "reason": f"The answer {broken}.", "evidence": sentence}
    return {"label": "kept", "reason": "None of the four rules is broken, as far as a rule can see."}


def next_steps(answer: str) -> Found:
    """How many of the three next steps the answer names: none, one, two or all.

    It does not see whether a step is explained well, or named only to be taken back.
    """
    found = {step: match.group() for step, pattern in STEPS.items() if (match := pattern.search(answer))}
    reason = f"The answer says {', '.join(found)}." if found else "The answer names none of the three steps."
    return {"label": COUNTS[len(found)], "reason": reason, "evidence": list(found.values())}


def request(answer: str, case: dict[str, str]) -> Found:
    """Whether a word of the answer takes up what the person wants: unnamed or named.

    It does not see whether the answer grants the request, or speaks of the right piece of data.
    """
    word = REQUEST_WORDS[case["request_kind"]].search(answer)
    if word is None:
        return {"label": "unnamed", "reason": f"No word of the answer takes up that this is about {case['request_kind']}."}
    return {"label": "named", "reason": f"A word takes up that this is about {case['request_kind']}.", "evidence": word.group()}


def sentences(text: str) -> list[str]:
    """The sentences of a text, roughly: what stands between full stops, question and exclamation marks and line ends."""
    return [part.strip() for part in SENTENCE.findall(text) if part.strip()]
