"""
The rules by which a refusal is understood: one table for the statuses, codes and wordings of all providers.

| about | what it says | about | what it says |
|---|---|---|---|
| money | the account, project or key may not spend | parameter | one that we sent is refused |
| key | the key itself is refused | wait | come back when the wait is over |
| model | this key may not use this model here | try_again | the server's accident, not charged |
| input | this question, and no other | endpoint | wrong URL, region, proxy, login page |
| length | the question or the reply is too long | format | the response_format is refused |

The first row of `RULES` that fits decides. Rows that look at a code or at words are certain; rows
that look at the status alone come last and are not: an unknown wording must not cost a key.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

__all__ = ["RULES", "About", "Rule"]

About = Literal[
    "money",
    "key",
    "model",
    "input",
    "length",
    "format",
    "parameter",
    "wait",
    "try_again",
    "endpoint",
]


def _words(*patterns: str) -> re.Pattern[str]:
    return re.compile("|".join(patterns))


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


@dataclass(frozen=True, slots=True)
class Rule:
    """Fits if all of on, page, told hold and, where any is given, one of codes, words, names does."""

    about: About
    on: frozenset[int] = frozenset()
    """Statuses; empty: all."""
    codes: frozenset[str] = frozenset()
    words: re.Pattern[str] | None = None
    """Searched in what is said, in lower case, every quotation mark a `'`."""
    names: str = ""
    """The parameter that is named; `*` for any."""
    names_model: bool = False
    """The model we asked for stands in what is said."""
    page: bool = False
    """The body is an HTML page (rows without it are for all others)."""
    told: bool = False
    """A wait is said outright: Retry-After or in the body."""

    @property
    def certain(self) -> bool:
        """Whether more than the status is looked at."""
        return bool(self.codes or self.words or self.names or self.names_model or self.told)


_ASKED = frozenset({200, *range(400, 500)})  # a 200 may hold an error without a status
_SERVER = frozenset(range(500, 600))
_BODY = frozenset({200, 400, 413, 422, 500, 501})  # of a request that was read

RULES: tuple[Rule, ...] = (
    # -- Pages. An API answers in JSON; a page is a proxy's, a firewall's or a portal's.
    # Cloudflare's challenge and country ban (1009): no key and no question gets through.
    Rule("endpoint", frozenset({403, 503}), words=_words("just a moment", r"\b1009\b"), page=True),
    Rule("try_again", _SERVER | {408, 409, 425, 499}, page=True),  # nginx 502, Cloudflare 520-530
    Rule("wait", frozenset({429}), page=True),
    Rule("length", frozenset({413}), page=True),  # nginx client_max_body_size
    Rule("key", frozenset({401}), page=True),  # Perplexity answers a bad key so; so do portals
    Rule("input", frozenset({403, 406}), page=True),  # a WAF that disliked the code under review
    Rule("endpoint", page=True),  # login page with 200, 404 of a base_url without /v1, 407
    # -- Accidents of the server, which cost nothing or little to ask again.
    Rule(
        "try_again",
        codes=_codes(
            "json_validate_failed "  # Groq: the sampled JSON broke; failed_generation holds it
            "resource_unavailable capacity_exceeded queue_exceeded "  # OpenAI flex, Groq, Cerebras
            "engine_overloaded engine_overloaded_error overloaded overloaded_error "  # Moonshot, TGI
            "loading_model unavailable_error"  # llama.cpp while it loads
        ),
    ),
    Rule(
        "try_again",
        frozenset({429}),
        words=_words(
            "resource unavailable", "capacity temporarily exceeded", "engine is .*overload"
        ),
    ),  # flex tiers of OpenAI, Azure, Gemini (not charged); Cloudflare 3040; Moonshot
    # -- The question itself. Before money: "your input was flagged ... no credits were charged".
    Rule(
        "input",
        _ASKED,
        codes=_codes(
            "content_filter content_policy_violation responsibleaipolicyviolation "  # OpenAI, Azure
            "data_inspection_failed datainspectionfailed "  # DashScope
            "invalid_prompt moderation content_moderation prohibited_content safety"  # OpenAI, OR
        ),
        words=_words(
            "content management policy",  # Azure
            "requires moderation",  # OpenRouter
            r"\b(?:input|prompt|content|messages?)\b[^.]{0,40}\bflagged",  # OpenRouter, OpenAI
            "content exists risk",  # DeepSeek
            r"inappropriate content|unsafe content|sensitive content|敏感内容",  # DashScope, Zhipu
            "violat[^.]{0,40}(?:content|usage) polic[^.]*prompt|prompt[^.]{0,60}usage polic",
            r"content[_ ](?:filter|policy)",
        ),
    ),
    Rule(
        "input",
        frozenset({403, 406}),
        words=_words(
            r"\bwaf\b|web application firewall|\bmalicious\b|request (?:was |has been )?blocked by"
        ),
    ),  # ModSecurity, Akamai, F5, which answer in JSON too
    # -- OpenRouter's budget in flight, gateways: a wait with a 401, 402 or 403 is a hold.
    Rule("wait", frozenset({401, 402, 403}), told=True),
    # -- Length. Before money and wait: Groq's names the billing page and says rate_limit_exceeded.
    Rule(
        "length",
        _BODY | {403},  # Together
        codes=_codes(
            "context_length_exceeded exceed_context_size_error string_above_max_length "
            "tokens_limit_reached request_too_large 3051"  # GitHub, Anthropic, Mistral
        ),
        words=_words(
            r"context[ _](?:length|window|size|limit)|maximum context",  # OpenAI, vLLM, llama.cpp
            r"(?:prompt|input)s? (?:is|are) too (?:long|large)|prompt ?超长",  # Anthropic, Bedrock
            r"too many (?:input |prompt )?tokens|input token count",  # Gemini
            "range of input length",  # DashScope
            "longer than the model|reduce the length|string too long",  # SGLang, OpenAI
            r"input validation error.*tokens|inputs?'? .{0,60}must be <=?",  # TGI
            "must be at least 1, got -",  # vLLM: what is left for the reply is negative
            "request (?:body )?too large|too large for model",  # Groq, GitHub
        ),
    ),
    Rule("length", frozenset({413})),
    Rule("length", frozenset({429}), words=_words("request too large")),  # OpenAI: above TPM alone
    # -- Money and waits speak alike: Gemini's per-minute limit has OpenAI's insufficient_quota words.
    Rule("model", frozenset({429}), words=_words(r"quota exceeded for metric.{0,200}limit: 0\b")),
    Rule(
        "money", frozenset({429}), words=_words(r"credits? (?:are|is|have been) depleted")
    ),  # Gemini
    Rule(
        "wait",
        frozenset({429}),
        codes=_codes(
            "resource_exhausted rate_limit_exceeded rate_limit_error ratelimitreached "
            "throttling throttling.ratequota throttling.burstrate throttling.allocationquota "
            "limit_requests limit_burst_rate throttlingexception rate_limit_reached_error"
        ),
        words=_words(
            "allocated quota exceeded",
            "error-code#token-limit",  # DashScope's TPM
            "you have been rate limited",  # Together, with the type credit_limit
        ),
    ),
    Rule(
        "money",
        _ASKED,
        codes=_codes(
            "insufficient_quota billing_hard_limit_reached billing_not_active quota_exhausted "
            "exceeded_current_quota_error "  # Moonshot
            "arrearage budget_exceeded insufficient_balance insufficient_credits "
            "insufficient_user_quota pre_consume_token_quota_failed "  # one-api, new-api
            "credit_limit billing_error blocked_api_access credits_exhausted payment_required"
        ),
        words=_words(
            r"credit balance|(?:insufficient|not enough) (?:\w+ )?(?:balance|credits?|funds)",
            r"balance is (?:insufficient|too low|not enough)|余额不足|欠费",  # SiliconFlow, Zhipu
            r"(?:more|any|available|included) credits|out of credits|credits? (?:\w+ )?expired",
            r"spend(?:ing)? (?:limit|cap)|billing hard limit|past invoices",  # Fireworks, Groq, xAI
            r"budget has been exceeded|exceeded (?:\w+ ){0,2}budget",  # LiteLLM
            r"key limit exceeded|reached your specified api usage limits",  # OpenRouter, Anthropic
            "in good standing|check your plan and billing",  # DashScope, OpenAI
        ),
    ),
    # -- The address. Before model and key: neither is to blame.
    Rule(
        "endpoint",
        _ASKED | {501},
        codes=_codes(
            "unsupported_country_region_territory ip_not_authorized not_supported_error unknown_url"
        ),
        words=_words(
            "invalid url|unknown request url|no route|could not route|route not found",  # Kong
            "missing authentication token",  # AWS API Gateway says so of an unknown path
            "user location is not supported|country, region|banned the country",  # Gemini, OpenAI
            "virtual network|firewall rules|public access is disabled|private endpoint",  # Azure
            r"ip (?:address )?(?:is )?not (?:authorized|allowed)",
            "not support chat completions|api version not supported|page not found",
            "proxy authentication",
        ),
    ),
    # -- The model on this key. Before key: LiteLLM says it with a 401, OpenAI with a 403.
    Rule(
        "model",
        codes=_codes(
            "model_not_found modelnotfound model_not_available model_not_supported "
            "model_decommissioned model_terms_required model_permission_blocked_org "
            "model_permission_blocked_project key_model_access_denied team_model_access_denied "
            "project_model_access_denied user_model_access_denied unknown_model invalid_model "
            "deploymentnotfound no_access model.accessdenied allocationquota.freetieronly "
            "operationnotsupported"  # Azure: chat completion with an embedding model
        ),
    ),
    Rule("model", frozenset({400, 403, 404, 410, 422}), names="model"),
    # -- What we sent. Before the model's words: "for this model, top_k is not allowed".
    Rule(
        "format",
        _BODY,
        names="response_format",
        words=_words(
            r"response[_ ](?:format|schema)|json[_ ](?:schema|mode)|structured output|guided_json",
            r"failed to parse grammar|grammar (?:error|request)|invalid grammar|xgrammar",
            r"the word 'json'",  # OpenAI, DashScope: json_object wants it in the messages
        ),
    ),
    Rule("parameter", frozenset({200, 400, 422, 500, 501}), names="*"),
    # -- The model again, by its words.
    Rule("model", frozenset({500}), words=_words("requires more system memory")),  # Ollama
    Rule(
        "model",
        _ASKED - {429},
        words=_words(
            r"\bmodel\b.{0,80}\b(?:not found|not exist|doesn't exist|not a valid|no longer)",
            r"\bmodel\b.{0,80}\b(?:deprecated|decommissioned|retired|blocked)\b",
            r"\bmodel\b.{0,60}\b(?:is )?not (?:available|enabled|accessible|deployed|allowed)\b",
            r"(?:unknown|invalid|no such|unrecognized) model\b|model name passed",
            r"not a valid model|model identifier is invalid|try pulling it",  # OpenRouter, Bedrock
            r"access to (?:the |this )?model|to (?:access|use) (?:the |this )?model",
            r"no (?:endpoints|allowed providers) (?:found|are available)",  # OpenRouter
            r"requested model|not a chat model|no models? (?:is |are )?loaded|模型不存在",
        ),
    ),
    Rule(
        "model",
        frozenset({404, 410}),
        words=_words(r"\bmodels?\b(?!/)|\bdeployment\b|not found for account"),  # Azure, NIM
        names_model=True,
    ),
    # -- The key.
    Rule(
        "key",
        _ASKED - {404, 429},
        codes=_codes(
            "invalid_api_key api_key_invalid incorrect_api_key wrong_api_key expired_key "
            "authentication_error auth_error token_not_found_in_db unauthenticated "
            "account_deactivated access_terminated invalid_organization organization_restricted "
            "permission_error permission_denied permissiondenied service_disabled "
            "consumer_suspended access_token_expired expiredtokenexception "
            "unrecognizedclientexception invalid_authentication_error missing_api_key"
        ),
        words=_words(
            r"(?:incorrect|invalid|expired|wrong|missing|malformed|no) (?:x-)?api[- _]?key\b",
            r"api[- _]?key\b.{0,40}(?:not valid|invalid|expired|revoked|disabled|leaked|not found)",
            r"(?:invalid|expired|revoked) (?:\w+ ){0,3}(?:token|credentials?)\b|bad credentials",
            r"token (?:included .{0,20})?(?:is |has |have )?(?:been )?(?:expired|invalid|revoked)",
            r"\bunauthori[sz]ed\b|authentication (?:error|fail)|authorization failed",
            r"no auth(?:entication)? credentials|invalid username or password|user not found",
            r"subscription key|missing scopes|insufficient permissions|unregistered callers",
            r"(?:account|organization|project)\b.{0,40}(?:deactivated|disabled|suspended|restricted)",
        ),
    ),
    # -- The status alone.
    Rule("wait", frozenset({429})),
    Rule("try_again", _SERVER | {408, 409, 421, 423, 424, 425, 498, 499}),  # 498: Groq flex
    Rule("key", frozenset({401})),
    Rule("money", frozenset({402})),
    Rule("input", frozenset({400, 403, 406, 412, 422})),  # the careful side: this cell and no more
    Rule("try_again", frozenset({200})),  # an error without a status, or half a body
    Rule("endpoint"),  # 3xx, 404, 405, 407, 415, 451 and what nobody sends
)
