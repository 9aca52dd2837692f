"""Baidu error codes, grouped by how a client must react. Sources: the vendor's FACE error tables and price page.

A code that is published with several texts (216508) counts as a rejection of the clip; the text stays in the evidence.
"""

#: Rate limit exceeded, so all jobs back off. 4 is the limit of the cluster, 18 that of the contract.
RATE_LIMITED = {4, 18}
#: Transient errors of the service: unavailable, video service, storage of session codes, busy.
TRANSIENT = {2, 216430, 216431, 216432, 216433, 216505, 216506, 216612}
#: The access token is wrong, unknown or expired: fetch a new one.
TOKEN_INVALID = {100, 110, 111}
#: The contract's quota is exhausted: the daily one, the total.
QUOTA_EXHAUSTED = {17, 19}
#: The key has no permission for this endpoint.
FORBIDDEN = {6}
#: The session code was used already or is older than five minutes.
SESSION_EXPIRED = {216502}
#: Rejections of the clip, billed like any other response: code → reason recorded in the evidence.
CLIP_REJECTED = {
    216434: "not_live",
    223120: "not_live",
    223131: "synthetic",
    216500: "action_not_seen",
    216501: "no_face",
    216507: "several_faces",
    216508: "no_video_information",
    216908: "low_quality",
    222202: "no_face",
    222203: "no_face",
    223113: "occluded",
    223114: "blurred",
    223115: "bad_light",
    223116: "face_incomplete",
    223129: "not_frontal",
}
