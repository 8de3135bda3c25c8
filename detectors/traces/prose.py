"""Tells whether an assistant's answer admits that something failed, or goes on as if nothing had happened."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

_CANNOT: Final = (
    r"(?:could ?n[o'’]t|can ?n[o'’]t|can['’]t|could not|was ?n[o'’]t able|were ?n[o'’]t able|am not able|unable|"
    r"not able|failed|having (?:trouble|difficult\w*|issues?|problems?)|ran into (?:an?|some)|trouble)"
)
_DOING: Final = (
    r"(?:access|retriev|fetch|get|find|load|look|reach|connect|complete|process|obtain|pull|check|determine|"
    r"provid|execut|perform|search|quer|open|read|run|book|call|contact|finish|verif|confirm|answer)"
)
_ADMITS: Final = "|".join((
    rf"\b{_CANNOT}\b[^.!?\n]{{0,40}}\b{_DOING}",
    r"\b(?:error|exception|failure)\b[^.!?\n]{0,60}\b(?:occurred|while|when|from|with|calling|retrieving|trying"
    r"|message)",
    r"\b(?:encountered|experienced|received|got|returned|hit|there (?:was|is|seems to be|appears to be)|due to"
    r"|because of)\b"
    r"[^.!?\n]{0,40}\b(?:errors?|exception|failure|issues?|problems?|timeout|outage)\b",
    r"\b(?:tool|service|api|server|system|database|backend|request|call|function|search|lookup|website|page"
    r"|data source)\b"
    r"[^.!?\n]{0,50}\b(?:failed|fails|failing|unavailable|not available|timed out|timing out|down|not responding|"
    r"did ?n[o'’]t (?:respond|return|work)|returned (?:an?|no|nothing|empty)|unreachable|not (?:work|found"
    r"|function))",
    r"\btimed out\b|\b50[0234]\b[^.!?\n]{0,30}(?:error|unavailable|gateway)|service unavailable"
    r"|something went wrong",
    r"\b(?:please )?try again (?:later|in a|shortly)|\btechnical (?:issue|difficult|problem|error)",
    r"\b(?:no|not any|without) (?:\w+ )?(?:results?|data|information|response|matches)\b[^.!?\n]{0,40}"
    r"\b(?:returned|found|available|received|came back|from the)",
    r"\b(?:konnte|konnten|kann)\b[^.!?\n]{0,80}\bnicht\b[^.!?\n]{0,40}(?:abruf|find|lad|erreich|ermittel"
    r"|zugreif|ausführ|beantwort)",
    r"fehler (?:aufgetreten|beim|bei)|nicht (?:verfügbar|erreichbar)|fehlgeschlagen|zeitüberschreitung",
    r"n['’]ai pas (?:pu|réussi)|impossible d|une erreur|n['’]est pas disponible|a échoué",
    r"no (?:pude|puedo|he podido|fue posible|se pudo)|(?:ha ocurrido|ocurrió|hubo) un error|no está disponible",
    r"não (?:consegui|foi possível|está disponível)|ocorreu um erro|non (?:sono riuscit|è stato possibile"
    r"|è disponibile)",
    r"(?:无法|無法|未能|不能)(?:获取|取得|访问|完成|查询|连接|找到|检索)|出错|发生了?错误|失败了|服务不可用|超时",
    r"(?:取得|アクセス|接続|確認|検索)(?:することが)?できません|エラーが発生|失敗しました|利用できません",
))  # fmt: skip


def text_suggests_failure(texts: pa.Array | pa.ChunkedArray) -> Any:
    """By answer: does it tell the user that something failed? Null for an answer that was not captured."""
    return pc.match_substring_regex(texts, rf"(?i)(?:{_ADMITS})")
