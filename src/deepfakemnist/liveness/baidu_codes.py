"""What Baidu's error codes ask of a client. Sources of each: its error tables of FACE and its price page.

Codes of one number and several published texts (216508) are taken as a refusal; the text stays in the evidence.
"""

#: Asked too fast; all jobs must wait. 4 is the limit of the cluster, 18 that of the contract.
CROWDED = {4, 18}
#: Troubles of the service that pass: unavailable, video service, storage of session codes, busy.
PASSING = {2, 216430, 216431, 216432, 216433, 216505, 216506, 216612}
#: The access token is wrong, unknown or too old: a new one helps.
TOKEN = {100, 110, 111}
#: The contract's requests are used up: of the day, in all.
USED_UP = {17, 19}
#: The key may not use this interface.
FORBIDDEN = {6}
#: The random code was used or is older than five minutes.
SESSION = {216502}
#: Answers about the clip, billed like any other, each with the reason in our words.
REFUSED = {
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
