"""Recognises prose by which tools say that they failed, or that they found nothing.

A text counts only for how it begins or for what it says as a whole: tools also return documents, logs, and
source code that speak of errors, and those are results.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Suspicion(NamedTuple):
    """What kind of failure a text states, and how surely (0..1)."""

    kind: str
    confidence: float


class _Rule(NamedTuple):
    kind: str
    confidence: float
    longest: int
    """Characters; a longer text is a document, not a message."""
    pattern: re.Pattern[str]
    anywhere: bool


_SCREEN_WORDS: Final = (
    r"error|exception|fail|explod|blew up|traceback|panic|goroutine|denied|unauthori|forbidden|tim(?:ed?|ing)[ -]?out"
    r"|deadline"
    r"|not found|not a valid|unexpected keyword|positional arg|unable|could ?n[o'’]t|can ?n?[o'’]t"
    r"|refused|unavailable|gateway|rate.?limit|quota|too many|unknown"
    r"|invalid|no such|missing|required|went wrong|sorry|did not (?:respond|answer|reply)|no (?:response|answer"
    r"|reply)"
    r"|took too long|enotfound|econn|etimedout|esocket|eai_again|ehostun|socket hang|unreachable|resource_exhausted"
    r"|input should|do(?:es)?(?: not|n[’']t) exist|exit(?:ed)?\b|fehler|fehlgeschlagen|überschr"
    r"|erreur|échec|échou|expiré|erro|fallo|falló|agotado|ошибк|错误|錯誤|失败|失敗|超时|超時|出错|异常|エラー"
    r"|タイムアウト|例外|오류|에러|실패|<html|<!doctype"
    r"|[\"']?(?:success|ok|succeeded|successful)[\"']?\s*[:=]\s*[\"']?false|[\"']code[\"']?\s*:\s*[\"']?[45]\d\d"
    r"|status[\w ]*[\"']?\s*[:=]?\s*[\"']?[45]\d\d|http[/ :\d.]*[45]\d\d|^\W*[45]\d\d\b"
)
"""Every text that a rule below could take for a failure has one of these words (RE2 and Python syntax). No counted
repeats: Arrow compiles the pattern at each call, and they make it several times as large."""

SCREEN: Final = rf"(?i:{_SCREEN_WORDS})"

_VERBS = (
    r"(?:access|acquire|analy[sz]e|authenticate|book|call|cancel|communicate|complete|compute|connect|convert"
    r"|create|"
    r"decode|delete|deserialize|determine|download|establish|evaluate|execute|extract|fetch|find|finish"
    r"|generate|get|"
    r"handle|import|initiali[sz]e|insert|install|invoke|list|load|locate|look ?up|obtain|open|parse|perform"
    r"|process|"
    r"query|reach|read|receive|render|resolve|retrieve|run|save|search|send|start|submit|update|upload|validate"
    r"|write)"
)
_SUBJECT = (
    r"(?:tool|function|request|api|http|https|call|connection|query|command|execution|operation|invocation"
    r"|fetch|server|"
    r"service|backend|upstream|network|database|db|mcp|lookup|retrieval|subprocess|script|process|authentication|"
    r"authori[sz]ation|validation|gateway|agent|plugin|action|task|job|rpc|grpc|webhook|endpoint|download|upload)"
)
_WORDS = r"(?: [\w'’`\"./-]{1,40})"
_REASONS = (
    r"(?:bad gateway|(?:temporarily |service )?unavailable|service (?:is )?(?:temporarily |currently )?unavailable|"
    r"internal (?:server )?error|gateway time-?out|too many requests|unauthori[sz]ed|forbidden|bad request|"
    r"not found|method not allowed|request time-?out|conflict|gone|unprocessable|payment required|not implemented|"
    r"client error|server error|(?:origin|web server) is)"
)
_DOCUMENTED = r"(?!\s*[:(—-]*\s*(?:(?:is |are |was )?(?:raised|thrown)|occurs|this (?:error|exception)|when ))"

_EXCEPTION = (
    r"(?-i:(?:[A-Za-z_]\w*(?:\.|::))*(?:[A-Z]\w*(?:Error|Exception|Timeout|Fault|Failure)"
    r"|Exception)|(?:\w+\.)+Timeout)" + _DOCUMENTED + r"(?:\s*(?:[:(]|$)| - )"
)
_STACK_TRACE = (
    r"traceback \(most recent call last\)"
    r"|(?:uncaught )?(?:[\w$]+[./])*\w*(?:error|exception)\b[^\n]{0,400}\n\s+at \S"
    r"|exception in thread \"|panic: [^\n]{1,400}\n\s*(?:goroutine \d|\[signal)|goroutine \d+ \[running\]"
    r"|thread '[^'\n]{0,80}' panicked at|unhandled exception[.:]|fatal error: uncaught"
)
_ERROR_TEXT = (
    rf"(?:[\w-]+ (?={_SUBJECT} ))?(?:(?:an?|the|this|unexpected|internal"
    rf"|fatal|critical|unknown|unhandled|system|client"
    rf"|runtime|sql|parse|parsing|json|input|syntax|python|graphql|remote|processing|provider|{_SUBJECT}) ){{0,4}}"
    r"error(?:\(s\))?(?: (?:message|details?|code))?\*{0,2}\s*[:：]"
    r"(?!\*{0,2}\s*(?:(?:none|null|no errors?|0|false|nil|n/a|\"\"|-)\s*(?:$|[\n,;.])|[-+]?\d*\.\d|\d+ ?%))"
    r"|error (?:executing|calling|running|invoking|while|during|when|from|fetching|retrieving|getting|occurred"
    r"|accessing|"
    r"parsing|processing|reading|writing|connecting|creating|updating|searching|loading|querying|performing"
    r"|sending|"
    r"making|opening|listing|deleting|in (?:tool|function|execution|call|plugin|action|getting|executing))\b"
    r"|error code[ :]+[45]\d\d\b|execution error\b"
    r"|exception (?:while|when|during|in|from|at|calling|occurred)\b"
    r"|(?:an? )?(?:unexpected |unknown |internal |unhandled |fatal |serious |\w+ )?(?:error|exception|failure)"
    r" (?:has |have |was |had )?(?:occurred|happened|been encountered|encountered|been thrown|thrown"
    r"|been raised|raised)"
    r"|something went wrong|there was (?:an? )(?:\w+ )?(?:error|exception|failure|problem)\b"
    r"|(?:i )?encountered (?:an? |some )?(?:\w+ )?(?:error|exception|problem)"
    r"|<(?:error|tool_error|tool_use_error|exception|fault|soap:fault)\b[^>]{0,80}>"
    r"|(?:fehler|erreur|errore|erro|ошибка|fout|błąd|hata|错误|錯誤|出错|异常|エラー|例外|오류|에러)\s*[:：!！(（]"
    r"|(?:es ist )?ein (?:unerwarteter |interner )?fehler (?:ist )?(?:aufgetreten|beim)|fehler (?:beim|bei der)"
    r"|interner serverfehler|une erreur (?:\w+ )?(?:est survenue|s['’]est produite)|erreur (?:interne|lors d)"
    r"|(?:se produjo|ocurrió|se ha producido) un error|error (?:interno|al \w+ar\b)|ocorreu um erro"
    r"|произошла ошибка"
    r"|(?:工具|请求|調用|调用|查询|连接|操作|执行|服务)[^\n]{0,12}(?:失败|失敗|出错|错误|异常"
    r"|不可用)|(?:发生|發生|出现)[^\n]{0,6}(?:错误|錯誤|异常)"
    r"|[^\n。]{0,20}(?:エラーが発生|に失敗しました)|[^\n]{0,20}오류가 발생"
)
_OPERATION_FAILED = (
    rf"(?:the |your |this |an? |\w+ )?(?:{_SUBJECT}){_WORDS}{{0,4}} (?:has |have |was |is |call )?"
    r"(?:failed|errored|crashed|exploded(?! in)|blew up|aborted|terminated unexpectedly|refused"
    r"|(?:currently |temporarily )?"
    r"(?:unavailable|unreachable|not available|not reachable|not responding))\b(?! over\b|\s*:\s*0\b)"
    rf"|(?:[\w'’-]+ )?(?:anfrage|aufruf|verbindung|werkzeug){_WORDS}{{0,3}} (?:ist )?(?:fehlgeschlagen|abgelehnt)"
    r"|échec (?:de|du|lors)|la (?:requête|connexion|demande) a échoué|(?:falló|fallo) (?:la|el|al|en)"
    r"|la solicitud falló"
)
_CANNOT = (
    rf"(?:i (?:was |am )?|we (?:were |are )?|the \w+ (?:was )?)?(?:unable to|could ?n[o'’]t|can ?n[o'’]t|can['’]t|"
    rf"was not able to|wasn['’]t able to)(?: be)? {_VERBS}"
)
_HTTP = (
    rf"(?:http(?:/\d(?:\.\d)?)?[ :-]*)?(?:(?:status|error"
    rf"|response)?(?: ?code)?[ :=-]*){{0,2}}[45]\d\d[ :,(–-]{{1,3}}{_REASONS}"
    r"|http(?: error| status| response)?(?: code)?[ :=]+[45]\d\d\b(?!\.\d)|(?:status|response) code[ :=]+[45]\d\d\b"
)
_HTTP_WHOLE = (
    r"(?:bad gateway|(?:the )?service (?:is )?(?:temporarily |currently )?unavailable|internal server error"
    r"|gateway time-?out|too many requests|bad request|no healthy upstream|method not allowed|upstream error"
    r"|upstream request timeout)\b.{0,60}|[45]\d\d"
)
_HTTP_INSIDE = (
    r"\b(?:failed|failure|error|returned|responded|received|got|rejected|with)\b[^.\n]{0,60}?"
    r"\b(?:status(?: code)?|http(?: status| error| code)?|code|error)[ :=]*(?:of )?[45]\d\d\b(?!\.\d)"
)
_TIMEOUT = (
    rf"timed[ -]?out\b|(?:the |your |an? )?(?:\w+ )?{_SUBJECT}{_WORDS}{{0,3}} (?:has |have )?timed[ -]?out\b"
    rf"|(?:the |your )?(?:[\w'’`\"-]+ ){{1,5}}(?:has |have )?timed[ -]?out(?: (?:after|while|waiting|trying"
    rf"|at)\b|[.!:]|$)"
    rf"|(?:{_SUBJECT} |the |\w+ )?time-?out(?: (?:error|exceeded|expired|reached|occurred|while|after|waiting"
    rf"|of \d)|\s*[:!]|$)"
    r"|(?:context )?deadline[ _]exceeded|etimedout|esockettimedout|[\w ]{0,40}took too long"
    r"|no (?:response|answer|reply) (?:was )?(?:received )?(?:from|within|after)"
    r"|(?:[\w'’`\"-]+ ){1,4}(?:did not|didn['’]t) (?:respond|answer|reply)(?: (?:in|within|after)\b|[.!]|$)"
    r"|zeitüberschreitung|délai d['’]attente|tiempo de espera|(?:请求"
    r"|請求|连接|查询|工具)?(?:超时|超時)|[^\n]{0,12}タイムアウト"
)
_PERMISSION = (
    r"(?:permission|access) (?:was |is )?denied|unauthori[sz]ed(?: access)?\s*(?:[:.!(]|$)|forbidden\s*(?:[.!(]|$)"
    r"|not authori[sz]ed|(?:authentication|authori[sz]ation) (?:failed|error|required)"
    r"|(?:the |your )?(?:provided )?(?:invalid|missing|expired|incorrect|no) (?:\w+ )?"
    r"(?:api[ _-]?key|(?:\w+ )?token|credentials)\b"
    r"|(?:you (?:do not|don['’]t) have|insufficient|missing) (?:the )?(?:required |necessary |sufficient )?"
    r"(?:permissions?|access|privileges|scopes?)\b|zugriff verweigert|accès refusé|acceso denegado|权限不足|拒绝访问"
    r"|アクセスが拒否"
)
_RATE_LIMIT = (
    r"(?:\w+ ){0,2}rate[ -]?limit(?:ed|s|ing)?(?: (?:was |has been |is )?(?:exceeded|reached|hit|error))"
    r"|rate[ -]?limit(?:ed)?\s*(?:[:.!,;]|$| by\b| on\b)|too many requests|(?:you(?:['’]ve"
    r"| have)? )?exceeded (?:your|the) (?:\w+ )?(?:quota|rate limit|limit)"
    r"|(?:\w+ ){0,2}quota (?:has been |was )?exceeded|resource_exhausted"
    r"|insufficient_quota"
)
_CONNECTION = (
    r"(?:[\w.]+ ){0,2}connection (?:was |has been )?(?:refused|reset|closed|aborted|error|lost|timed out)"
    r"|connection to .{1,100} (?:failed|refused|timed out|lost)|(?:\w+ ){0,3}econn(?:refused|reset|aborted)"
    r"|(?:\w+ ){0,3}(?:enotfound|ehostunreach|enetunreach|eai_again)\b|name or service not known|no route to host"
    r"|network (?:is )?unreachable|socket hang up|fetch failed|getaddrinfo"
    r"|certificate verify failed|upstream connect error"
    r"|max retries exceeded"
)
_UNKNOWN_TOOL = (
    r"(?:unknown|invalid|no such|unrecogni[sz]ed|unsupported|nonexistent|undefined) (?:tool|function|action)"
    r"(?:\s*[:'\"`.,!(]|$| named?\b| calls?\b)"
    r"|no (?:such )?(?:tool|function) (?:named|called|with name|found)"
    r"|(?:the )?(?:tool|function|action)(?: name)?[ :]*[`'\"(]?[\w.:-]{1,80}[`'\")]? ?(?:was |is )?(?:do(?:es)? ?)?"
    r"(?:not found|not exist|n['’]t exist|not available|not registered|not a valid|unknown|not defined"
    r"|not recogni[sz]ed)"
    r"|(?:tool|function) (?:is |was |does )?(?:not found|not exist|not available|not registered)"
    r"|[`'\"]?[\w.:-]{1,80}[`'\"]? is not a valid (?:tool|function)|model tried to call unavailable tool|nosuchtool"
)
_INVALID_ARGUMENTS = (
    r"\d+ validation errors?\b|validation (?:failed|error)|(?:invalid|missing|malformed|bad|incorrect) (?:tool )?"
    r"(?:arguments?|input|parameters?|params)\b|missing (?:\d+ )?(?:a )?required|input should be"
    r"|(?:required )?(?:argument|parameter|property|field) [`'\"]?[\w.]{1,60}[`'\"]? (?:is |was )?"
    r"(?:missing|required|not provided|invalid)|invalid input for tool|mcp error -?\d+"
    r"|[\w.<>]{1,80}\(\) (?:got an unexpected|missing \d+ required|takes \d+ positional)"
)
_SHELL = (
    r"(?:[\w./-]{1,60}: ){1,2}(?:line \d+: )?[^\n]{0,80}?(?:command not found|no such file or directory"
    r"|permission denied)"
    r"|(?:command|process|script|program) (?:failed|exited|returned)[^\n]{0,30}(?:code|status)[ :=]*-?[1-9]"
    r"|exit(?:ed)?(?: with)?(?: code| status)[: =]+-?[1-9]\d*\b"
)
_SORRY = (
    r"(?:sorry|apologies|my apologies|oops|uh oh|unfortunately|抱歉|対不起|申し訳)[,!.，、 ].{0,80}"
    r"(?:error|went wrong|failed|unable|could ?n[o'’]t|can ?n[o'’]t|can['’]t|problem|unavailable|错误|失败|エラー)"
)

_LONG: Final = 1 << 30
_HEAD: Final = 4_000
"""Characters of a text that are looked at for how it begins."""


def _rule(kind: str, confidence: float, longest: int, pattern: str, *, anywhere: bool = False) -> _Rule:
    return _Rule(kind, confidence, longest, re.compile(pattern, re.IGNORECASE), anywhere)


_RULES: Final = (
    _rule("stack_trace", 0.95, _LONG, _STACK_TRACE),
    _rule("unknown_tool", 0.9, 1500, rf"(?:error[: ]+)?(?:{_UNKNOWN_TOOL})"),
    _rule("invalid_arguments", 0.88, 1500, _INVALID_ARGUMENTS),
    _rule("rate_limit", 0.88, 400, _RATE_LIMIT),
    _rule("timeout_text", 0.87, 250, _TIMEOUT),
    _rule("connection", 0.88, 500, _CONNECTION),
    _rule("http_error", 0.9, 600, _HTTP),
    _rule("http_error", 0.85, 120, rf"(?:{_HTTP_WHOLE})$"),
    _rule("permission", 0.85, 300, _PERMISSION),
    _rule("exception", 0.93, _LONG, _EXCEPTION),
    _rule("error_text", 0.92, _LONG, _ERROR_TEXT),
    _rule("error_text", 0.85, 500, rf"failed to {_VERBS}\b"),
    _rule("error_text", 0.82, 300, _OPERATION_FAILED),
    _rule("error_text", 0.75, 300, _CANNOT),
    _rule("error_text", 0.7, 300, _SHELL),
    _rule("error_text", 0.7, 250, _SORRY),
    _rule("http_error", 0.8, 350, _HTTP_INSIDE, anywhere=True),
)

_DECORATION = re.compile(r"[\s❌✖✗✘⚠️🚫❗🔴*#>_`\"'(\[-]{0,10}")
_PYTHON_TRACE = re.compile(r"^Traceback \(most recent call last\):\n", re.MULTILINE)
_PYTHON_TRACE_END = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning)?\b(?::|$)")
_HTML = re.compile(
    r"\s*(?:<\?xml[^>]*>\s*)?(?:<!--.{0,200}?-->\s*)?<(?:!doctype html|html)\b", re.IGNORECASE | re.DOTALL
)
_HTML_HEADLINE = re.compile(r"<(?:title|h1)[^>]{0,200}>([^<]{0,300})", re.IGNORECASE)
_HTML_FAILURE = re.compile(
    r"\b[45]\d\d\b|error|bad gateway|unavailable|not found|forbidden|denied|time-?d?-?out|just a moment|"
    r"attention required|unauthori[sz]ed|too many requests|maintenance|sign in|log ?in\b",
    re.IGNORECASE,
)
_NOTHING_FOUND = re.compile(
    r"(?!\w+ (?:errors?|problems?|issues?|warnings?|conflicts?|changes|failures)\b)(?:(?:sorry,? )?(?:there (?:are"
    r"|is|were|was) )?(?:no|zero|0) (?:[\w'’-]+ ){0,4}?(?:results?|matches|match"
    r"|matching"
    r"|records?|rows?|documents?|entries|items?|data|hits|output|content|answers?|information|files?|messages?"
    r"|events?)\b"
    r".{0,100}$|(?:no|nothing|none|zero|0)(?: [\w'’-]+){0,5} (?:found|matched|returned|available)\b.{0,100}$"
    r"|(?:the |your )?(?:search|query|request|tool|lookup)(?: .{0,80})? (?:returned|yielded|produced|found|gave) "
    r"(?:no|0|zero|nothing|an? empty)\b.{0,80}$|(?:could ?n[o'’]t|did ?n[o'’]t) find any\b.{0,100}$"
    r"|keine (?:ergebnisse|treffer|daten|einträge)\b.{0,80}$|aucune? (?:résultat|donnée)\b.{0,80}$"
    r"|no se encontr(?:ó|aron)\b.{0,80}$|sin resultados\b.{0,80}$|(?:没有|未)(?:找到|查到|搜索到|结果|数据).{0,40}$"
    r"|.{0,40}見つかりません.{0,20}$|empty dataframe\n.*)",
    re.IGNORECASE | re.DOTALL,
)
_NOT_FOUND = re.compile(r"(?:[\w'’`\"#-]+ ){1,4}(?:was |were |is |could )?not (?:be )?found[.!]?$", re.IGNORECASE)


def suspect(text: str) -> Suspicion | None:
    """Judge a tool's text, stripped of white space; None when nothing says that the tool failed."""
    if text[:1] == "<" and _HTML.match(text):
        return _suspect_page(text)
    length = len(text)
    head = text[:_HEAD]
    start = _DECORATION.match(head).end()  # type: ignore[union-attr]
    for kind, confidence, longest, pattern, anywhere in _RULES:
        if length > longest:
            continue
        if pattern.search(head, start) if anywhere else pattern.match(head, start):
            return Suspicion(kind, confidence if kind == "stack_trace" else confidence * _trust(length))
    return _suspect_run(text)


def _trust(length: int) -> float:
    """Messages are short: the longer a text, the likelier it is a document that begins like one."""
    return 1.0 if length <= 600 else 0.85 if length <= 2500 else 0.6


def _suspect_page(text: str) -> Suspicion | None:
    """An HTML page is a failure when its title or headline says so; others may be what was asked for."""
    head = text[:4000]
    titles = _HTML_HEADLINE.findall(head)
    if any(_HTML_FAILURE.search(title) for title in titles):
        return Suspicion("html_page", 0.92 if len(text) <= 20_000 else 0.7)
    return None


def _suspect_run(text: str) -> Suspicion | None:
    """The output of a run that ended in a Python traceback."""
    if "Traceback (most" not in text:
        return None
    traces = list(_PYTHON_TRACE.finditer(text))
    last_line = text.rstrip().rpartition("\n")[2]
    if traces and len(text) - traces[-1].start() <= 8_000 and _PYTHON_TRACE_END.match(last_line):
        return Suspicion("stack_trace", 0.85)
    return None


def nothing_found(text: str) -> float:
    """How surely (0..1) a text says that there was nothing to return."""
    if len(text) > 200:
        return 0.0
    if _NOTHING_FOUND.match(text):
        return 0.7
    return 0.55 if _NOT_FOUND.match(text) else 0.0
