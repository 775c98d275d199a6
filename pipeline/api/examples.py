"""The examples of the API's description, one story: a small zip with a chest X-ray in it."""

from typing import Any

ORIGIN = "http://127.0.0.1:8000"
JOB_ID = "019a2f6f3b1c6c0e7f1d2a3b4c5d6e7f"
IMAGE_ID = "019a2f6f3b205f4e3d2c1b0a99887766"
OTHER_ID = "019a2f6f3b21aa0b1c2d3e4f50617283"
SHA256 = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"

_JOB_LINKS = {
    "url": f"{ORIGIN}/v1/jobs/{JOB_ID}",
    "results": f"{ORIGIN}/v1/jobs/{JOB_ID}/results",
    "page": f"{ORIGIN}/jobs/{JOB_ID}",
}

JOB_ACCEPTED: dict[str, Any] = {
    "id": JOB_ID,
    "priority": "routine",
    **_JOB_LINKS,
    "images": [
        {
            "id": IMAGE_ID,
            "name": "ward3.zip/chest.dcm",
            "sha256": SHA256,
            "state": "received",
            "reason_code": None,
            "reason": None,
            "url": f"{ORIGIN}/v1/images/{IMAGE_ID}",
            "page": f"{ORIGIN}/images/{IMAGE_ID}",
        },
        {
            "id": OTHER_ID,
            "name": "ward3.zip/notes.txt",
            "sha256": None,
            "state": "rejected",
            "reason_code": "unsupported_format",
            "reason": "the file is text; read are DICOM, PNG, JPEG, TIFF",
            "url": f"{ORIGIN}/v1/images/{OTHER_ID}",
            "page": f"{ORIGIN}/images/{OTHER_ID}",
        },
    ],
}

JOB: dict[str, Any] = {
    "id": JOB_ID,
    "source": "api",
    "priority": "routine",
    "created_at": "2026-03-02T09:15:00Z",
    "open": False,
    "counts": {
        "received": 0,
        "prepared": 0,
        "gated": 0,
        "typed": 1,
        "done": 0,
        "rejected": 1,
        "quarantined": 0,
    },
    "total": 2,
    "finished": 1,
    "progress": 0.5,
    **_JOB_LINKS,
}

_FINDING = {
    "label": "Effusion",
    "score": 0.81,
    "threshold": 0.42,
    "positive": True,
    "experimental": False,
    "heatmap": f"{ORIGIN}/v1/images/{IMAGE_ID}/heatmaps/Effusion.png",
}

_RUNS = [
    {
        "stage": stage,
        "model_version": f"{stage}-1.0.0+0a1b2c3d",
        "answer": answer,
        "scores": scores,
        "operating_point": "balanced",
        "wait_ms": 12.5,
        "compute_ms": 48.0,
        "created_at": "2026-03-02T09:15:01Z",
        "findings": findings,
    }
    for stage, answer, scores, findings in (
        ("gate", "xray", {"other": 0.01, "xray": 0.99}, []),
        ("type", "chest", {"chest": 0.98, "hand": 0.02}, []),
        ("chest", None, {"abnormal": 0.93, "Effusion": 0.81}, [_FINDING]),
    )
]

IMAGE: dict[str, Any] = {
    "id": IMAGE_ID,
    "job_id": JOB_ID,
    "name": "ward3.zip/chest.dcm",
    "sha256": SHA256,
    "size_bytes": 7_340_512,
    "state": "done",
    "waits_for": None,
    "reason_code": None,
    "reason": "every stage has answered",
    "answer": "Chest X-ray, abnormal (score 0.93, at the operating point 'balanced')",
    "is_xray": True,
    "xray_score": 0.99,
    "xray_type": "chest",
    "type_score": 0.98,
    "abnormal": True,
    "abnormality_score": 0.93,
    "format": "DICOM",
    "width_px": 2021,
    "height_px": 2021,
    "header": {"modality": "DX", "body_part_examined": "HAND", "view_position": "PA"},
    "flags": [{"code": "body_part", "message": "header says HAND, image looks like CHEST"}],
    "priority": "routine",
    "created_at": "2026-03-02T09:15:00Z",
    "finished_at": "2026-03-02T09:15:02Z",
    "stages": _RUNS,
    "url": f"{ORIGIN}/v1/images/{IMAGE_ID}",
    "job": f"{ORIGIN}/v1/jobs/{JOB_ID}",
    "preview": f"{ORIGIN}/v1/images/{IMAGE_ID}/preview.png",
    "page": f"{ORIGIN}/images/{IMAGE_ID}",
}

RESULTS: dict[str, Any] = {
    "items": [IMAGE],
    "next": f"{ORIGIN}/v1/jobs/{JOB_ID}/results?after={IMAGE_ID}&limit=1",
}

RESULTS_CSV = (
    "path,sha256,status,reason,is_xray,xray_score,xray_type,type_score,abnormal,"
    "abnormality_score,findings,heatmaps,model_versions\r\n"
    f"ward3.zip/chest.dcm,{SHA256},done,every stage has answered,true,0.9900,chest,0.9800,true,"
    '0.9300,"{""Effusion"": 0.81}",'
    f'"{{""Effusion"": ""{_FINDING["heatmap"]}""}}",'
    '"{""chest"": ""chest-1.0.0+0a1b2c3d""}"\r\n'
)

STAGES: dict[str, Any] = {
    "stages": [
        {
            "name": "gate",
            "after": None,
            "on": None,
            "card": {
                "model_version": "gate-1.0.0+0a1b2c3d",
                "architecture": "densenet121",
                "input_px": 128,
                "labels": [
                    {"name": "other", "experimental": False, "operating_points": {}},
                    {
                        "name": "xray",
                        "experimental": False,
                        "operating_points": {
                            "balanced": {
                                "threshold": 0.5,
                                "sensitivity": 0.99,
                                "specificity": 0.98,
                            }
                        },
                    },
                ],
                "default_operating_point": "balanced",
                "intended_use": "Research on the triage of X-ray images.",
                "disclaimer": "Not a medical device.",
            },
            "card_error": None,
        },
        {
            "name": "type",
            "after": "gate",
            "on": "xray",
            "card": None,
            "card_error": "no valid model card is installed for this stage",
        },
    ]
}

ALIVE: dict[str, Any] = {"status": "alive", "version": "0.1.0"}

READY: dict[str, Any] = {
    "status": "ready",
    "checks": {name: {"ok": True, "why": None} for name in ("database", "storage", "broker")},
}
