"""Baidu error codes: what each means for the client, the vendor's text, and where it is documented.

One table, so that no code has two meanings. A code that is not in it may have been billed: the response is kept as an
answer without a verdict. A code that is published with several texts (216508) rejects the clip; the text stays in the
evidence.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

#: Baidu's error page of this service; its head with codes 2 to 222003 was read (version of 2025-04-21).
FACE = "https://ai.baidu.com/ai-doc/FACE/5k37c1ujz"
#: Baidu's error page of its image services, with the codes common to all, and which to send again ("请再次请求").
COMMON = "https://ai.baidu.com/ai-doc/BODY/mk4qt2wpt"
#: Baidu's page for its on-premises version: 222915 also when too many requests run at once; 222001 to 223140.
ON_PREMISES = "https://ai.baidu.com/ai-doc/FACE/ik37c1j82"
#: Baidu's prices, which say that these rejections are billed.
PRICES = "https://cloud.baidu.com/product-price/face.html"
#: Widely reported by users. Baidu's page says more on them than could be read, so check the texts there.
REPORTED = "users of the service"
#: Lists in clients and resellers of the video check (https://developer.qiniu.com/dora/6795/face-actlive); Baidu's own
#: page on it could not be read.
CLIENTS = "clients of the video check"


class Meaning(Enum):
    """How a client must react."""

    #: Not served, passes: send again.
    RETRY = "retry"
    #: Too many requests: all jobs wait.
    RATE_LIMITED = "rate limited"
    #: Fetch a new access token, then send again.
    NEW_TOKEN = "new token"  # noqa: S105  a name
    #: The session code was used already or is older than five minutes: request another.
    NEW_SESSION = "new session"
    #: The contract's quota is exhausted: stop until another day.
    QUOTA = "quota"
    #: The keys may not use this endpoint: stop.
    NO_ACCESS = "no access"
    #: The request is malformed or too large, every time, and is not billed.
    REFUSED = "refused"
    #: A verdict on the clip, billed like any other response.
    REJECTED = "rejected"


@dataclass(frozen=True)
class Code:
    """Meaning of an error code, its documented text, its source, and the reason recorded for a rejection."""

    meaning: Meaning
    text: str
    source: str
    reason: str = ""


def _rejected(reason: str, text: str, source: str) -> Code:
    return Code(Meaning.REJECTED, text, source, reason)


CODES: dict[int, Code] = {
    1: Code(Meaning.RETRY, "Unknown error; send again", COMMON),
    2: Code(Meaning.RETRY, "Service temporarily unavailable; send again", FACE),
    3: Code(Meaning.NO_ACCESS, "Unsupported openapi method", COMMON),
    4: Code(Meaning.RATE_LIMITED, "Open api request limit reached (of the cluster); send again", FACE),
    6: Code(Meaning.NO_ACCESS, "no permission to access data", FACE),
    13: Code(Meaning.NEW_TOKEN, "Get service token failed", COMMON),
    14: Code(Meaning.NO_ACCESS, "IAM Certification failed", COMMON),
    15: Code(Meaning.NO_ACCESS, "app not exists or create failed", COMMON),
    17: Code(Meaning.QUOTA, "Open api daily request limit reached", FACE),
    18: Code(Meaning.RATE_LIMITED, "Open api qps request limit reached", FACE),
    19: Code(Meaning.QUOTA, "Open api total request limit reached", FACE),
    100: Code(Meaning.NEW_TOKEN, "Invalid parameter: access_token", FACE),
    110: Code(Meaning.NEW_TOKEN, "Access token invalid or no longer valid", FACE),
    111: Code(Meaning.NEW_TOKEN, "Access token expired", FACE),
    216100: Code(Meaning.REFUSED, "invalid param", COMMON),
    216101: Code(Meaning.REFUSED, "not enough param", COMMON),
    216430: Code(Meaning.RETRY, "face service error", CLIENTS),
    216431: Code(Meaning.RETRY, "voice service error", CLIENTS),
    216432: Code(Meaning.RETRY, "video service call failed", CLIENTS),
    216433: Code(Meaning.RETRY, "video service error", CLIENTS),
    216434: _rejected("not_live", "liveness check failed", CLIENTS),
    216500: _rejected("action_not_seen", "code digit error", PRICES),
    216501: _rejected("no_face", "not found face", CLIENTS),
    216502: Code(Meaning.NEW_SESSION, "session lapse", CLIENTS),
    216505: Code(Meaning.RETRY, "storage of session codes: error", CLIENTS),
    216506: Code(Meaning.RETRY, "storage of session codes: error", CLIENTS),
    216507: _rejected("several_faces", "found many faces", CLIENTS),
    216508: _rejected("no_video_information", "not found video info", CLIENTS),
    216510: Code(Meaning.REFUSED, "video of an action longer than 10 s", CLIENTS),
    216612: Code(Meaning.RETRY, "system busy", CLIENTS),
    216908: _rejected("low_quality", "face quality in the video too low", CLIENTS),
    **{code: Code(Meaning.REFUSED, "parameter missing or malformed", FACE) for code in range(222001, 222022)},
    222200: Code(Meaning.REFUSED, "the request must be application/json", REPORTED),
    222201: Code(Meaning.RETRY, "network not available; send again", REPORTED),
    222202: _rejected("no_face", "pic not has face", REPORTED),
    222203: _rejected("no_face", "image check fail", REPORTED),
    222205: Code(Meaning.RETRY, "network not available; send again", REPORTED),
    222206: Code(Meaning.RETRY, "rtse service return fail; send again", REPORTED),
    222302: Code(Meaning.RETRY, "system error; send again", REPORTED),
    222304: Code(Meaning.REFUSED, "image size is too large", REPORTED),
    **{code: Code(Meaning.RETRY, "system busy", ON_PREMISES) for code in range(222901, 222917)},
    223113: _rejected("occluded", "face is covered", CLIENTS),
    223114: _rejected("blurred", "face is fuzzy", CLIENTS),
    223115: _rejected("bad_light", "face light is not good", CLIENTS),
    223116: _rejected("face_incomplete", "incomplete face", CLIENTS),
    223120: _rejected("not_live", "liveness check fail", PRICES),
    223129: _rejected("not_frontal", "face not forward", CLIENTS),
    223131: _rejected("synthetic", "synthetic-image check failed", CLIENTS),
    282000: Code(Meaning.RETRY, "internal error; send again", COMMON),
}
