"""What servers, gateways and providers really say, in their own words and shapes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from distilabel_endpoints._clients.failures import classify, classify_status, retry_after_in
from distilabel_endpoints._clients.transport import Exchange
from distilabel_endpoints.errors import CreditError, run_error
from distilabel_endpoints.records import Failure, FailureKind, Request

ASKED = Request(ordinal=0, messages=[{"role": "user", "content": "Say hello"}], max_new_tokens=512)
ENVOY = "upstream connect error or disconnect/reset before headers. reset reason: "
LITELLM = "litellm.BadRequestError: OpenAIException - "


def classified(status: int, body: Any, *, request: Request = ASKED) -> Failure:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = httpx2.Response(status, content=raw)
    return classify(Exchange(status=status, response=response), request)


def error(message: str, code: Any = None, kind: str | None = None, **more: Any) -> Any:
    return {"error": {"message": message, "type": kind, "param": None, "code": code, **more}}


NO_CREDIT: dict[str, tuple[int, Any]] = {
    "openai": (429, error("You exceeded your current quota, please check your plan and billing "
                          "details.", "insufficient_quota", "insufficient_quota")),
    "openai, words alone": (429, error("You exceeded your current quota")),
    "deepseek": (402, error("Insufficient Balance", "invalid_request_error", "unknown_error")),
    "moonshot": (429, error("Your account org-ea6a <ak-f8ty> is suspended due to insufficient "
                            "balance, please recharge your account or check your plan and billing "
                            "details", kind="exceeded_current_quota_error")),
    "moonshot, not active": (403, error("Your account xx is not active, organization <xx> exceeded "
                                        "current quota", kind="exceeded_current_quota_error")),
    "zhipu": (429, {"error": {"code": "1113", "message": "Insufficient balance or no resource "
                              "package. Please recharge."}}),
    "zhipu, in Chinese": (429, {"error": {"code": "1113", "message": "余额不足或无可用资源包"}}),
    "siliconflow": (403, {"code": 30011, "message": "The selected model requires paid balance. "
                          "Your paid balance is insufficient. Please top up and try again.",
                          "data": None}),
    "alibaba": (400, error("Access denied, please make sure your account is in good standing.",
                           "Arrearage", "Arrearage")),
    "together": (402, error("Credit limit exceeded, please navigate to billing", "credit_limit")),
    "openrouter": (402, error("Insufficient credits. Add more using the settings page", 402)),
    "openrouter, for so many tokens": (402, error(
        "This request requires more credits, or fewer max_tokens. You requested up to 32000 "
        "tokens, but can only afford 0", 402)),
    "xai": (429, "Your team has used all available credits or reached its monthly spending limit"),
    "anthropic": (400, {"type": "error", "error": {
        "type": "invalid_request_error", "message": "Your credit balance is too low to access the "
        "API."}}),
    "fireworks": (412, error("Account x is suspended, possibly due to reaching the monthly "
                             "spending limit or failure to pay past invoices")),
    "hugging face": (402, {"error": "You have exceeded your monthly included credits for Inference "
                           "Providers."}),
    "volcengine": (403, error("The request failed because your account has an overdue balance.",
                              "AccountOverdueError")),
    "litellm, a key's budget": (400, error(
        f"{LITELLM}Budget has been exceeded! Current cost: 14.2, Max budget: 10.0", "400")),
    "litellm, a user's budget": (400, error(
        "ExceededBudget: User=ca78 over budget. Spend=0.05, Budget=0.04", "400",
        "budget_exceeded")),
    "litellm, later versions": (429, error(
        "LiteLLM User: engineer-1, exceeded budget for model=m", "429", "budget_exceeded")),
    "litellm, a deployment's budget": (429, error(
        "No deployments available - crossed budget: Exceeded budget for deployment m", "429")),
    "minimax": (200, {"choices": None, "base_resp": {
        "status_code": 1008, "status_msg": "insufficient balance"}}),
    "openai, not active": (429, error("Your account is not active, please check your billing "
                                      "details on our website.", "billing_not_active")),
    "openai, a hard limit": (400, error("Billing hard limit has been reached",
                                        "billing_hard_limit_reached")),
    "openrouter, a key's limit": (403, error("Key limit exceeded (total limit).", 403)),
    "xai, a new team": (403, {"code": "x", "error": "Your newly created team doesn't have any "
                              "credits or licenses yet."}),
    "anthropic, a limit of one's own": (400, error("You have reached your specified API usage "
                                                   "limits. You will regain access soon.")),
    "gemini, prepaid": (429, [error("Your prepayment credits are depleted.", 429)]),
    "gemini, a cap": (429, [error("Your project has exceeded its monthly spending cap.", 429)]),
    "gemini, no billing": (403, [error("This API method requires billing to be enabled.", 403)]),
    "new-api": (403, error("用户额度不足, 剩余额度: ¥0.00", "insufficient_user_quota")),
    "new-api, a token's": (403, error("token quota is not enough, token remain quota: 0.01",
                                      "pre_consume_token_quota_failed")),
    "watsonx": (403, {"errors": [{"code": "token_quota_reached", "message": "This API request has "
                                  "consumed all of the tokens available on your plan"}]}),
    "volcengine, a limit of one's own": (429, error("Your account has reached the set inference "
                                                    "limit for the model", "SetLimitExceeded")),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body"), NO_CREDIT.values(), ids=NO_CREDIT)
def test_no_credit_in_every_providers_words(status: int, body: Any) -> None:
    """A refusal that only money can end is known as one, whatever its status."""
    failure = classified(status, body)
    assert (failure.kind, failure.code) == (FailureKind.RUN, "no_credit"), failure
    assert isinstance(run_error(failure), CreditError)


TOO_EXPENSIVE: dict[str, tuple[int, str, str | None]] = {
    "openrouter, an answer": (402, "You requested up to 16384 tokens, but can only afford {}.",
                              None),
    "openrouter, a prompt": (402, "Prompt tokens limit exceeded: 230799 > {}.", None),
    "new-api, a token's": (
        403, "token quota is not enough, token remain quota: ＄{}, need quota: ＄0.769410",
        "pre_consume_token_quota_failed"),
    "new-api, a user's": (403, "预扣费额度失败, 用户剩余额度: ￥{}, 需要预扣费额度: ￥0.10",
                          "insufficient_user_quota"),
    "one-api, a numbered user's": (403, "用户[14]剩余额度: {}, 需要预扣费额度: 0.10",
                                   "insufficient_user_quota"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "words", "code"), TOO_EXPENSIVE.values(), ids=TOO_EXPENSIVE)
@pytest.mark.parametrize(
    ("left", "meaning"),
    [("91442", "too_expensive"), ("0.019310", "too_expensive"), ("0", "no_credit"),
     ("0.000000", "no_credit"), ("-0.05", "no_credit")],
)  # fmt: skip
def test_credit_that_is_too_little_for_one_request(
    status: int, words: str, code: str | None, left: str, meaning: str
) -> None:
    """What is left pays for a cheaper one; with nothing left, no request can be paid."""
    failure = classified(status, error(words.format(left), code))
    assert (failure.kind, failure.code) == (FailureKind.RUN, meaning)
    assert isinstance(run_error(failure), CreditError)


GEMINI = (
    "You exceeded your current quota, please check your plan and billing details. Quota exceeded "
    "for metric: generate_content_free_tier_requests, limit: 15. Please retry in 34.5s."
)
A_RATE: dict[str, tuple[int, Any, float | None]] = {
    "gemini": (429, [{"error": {"code": 429, "message": GEMINI, "status": "RESOURCE_EXHAUSTED"}}],
               34.5),
    "vertex": (429, {"error": {"code": 429, "message": "Quota exceeded for online_prediction_"
                               "requests_per_base_model", "details": [
                                   {"@type": "RetryInfo", "retryDelay": "12s"}]}}, 12.0),
    "openai": (429, error("Rate limit reached for m on tokens per min (TPM): Limit 30000, Used "
                          "29000, Requested 2000. Please try again in 1m20s.",
                          "rate_limit_exceeded", "tokens"), 80.0),
    "openai, without a payment method": (429, error(
        "Rate limit reached for m on requests per min. Limit: 3 / min. Please try again in 20s. "
        "Please add a payment method to your account to increase your rate limit."), 20.0),
    "openai, soon": (429, error("Rate limit reached. Please try again in 6ms."), 0.006),
    "groq": (429, error("Rate limit reached for model `m` on requests per day (RPD): Limit 1000, "
                        "Used 1000, Requested 1. Please try again in 7m12s. Need more tokens? "
                        "Upgrade to Dev Tier today at /settings/billing"), 432.0),
    "azure": (429, error("Requests have exceeded the token rate limit of your current pricing "
                         "tier. Please retry after 26 seconds.", "429"), 26.0),
    "moonshot": (429, error("request reached max request: 3, please try again after 1 seconds",
                            kind="rate_limit_reached_error"), 1.0),
    "openrouter": (429, error("Rate limit exceeded: free-models-per-day. Add 10 credits to unlock "
                              "1000 free model requests per day"), None),
    "litellm, cooling down": (429, error("No deployments available for selected model, Try again "
                                         "in 60 seconds."), 60.0),
    "together, called a credit limit": (429, error(
        "You have been rate limited. Your rate limit is 60 queries per minute. Please navigate to "
        "billing to upgrade to a paid plan.", kind="credit_limit"), None),
    "github": (429, error("Rate limit of 50 per 86400s exceeded for UserByModelByDay. Please wait "
                          "700 seconds before retrying.", "RateLimitReached"), 700.0),
    "cerebras": (429, {"message": "Requests per minute limit exceeded - too many requests sent.",
                       "type": "too_many_requests_error", "code": "request_quota_exceeded"}, None),
    "openrouter, upstream": (429, error("Provider returned error", 429, metadata={
        "raw": "m is temporarily rate-limited upstream. Please retry shortly"}), None),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "wait"), A_RATE.values(), ids=A_RATE)
def test_a_rate_limit_that_is_called_a_quota(status: int, body: Any, wait: float | None) -> None:
    """It passes: the wait that the words name is kept, and nobody is sent to pay."""
    failure = classified(status, body)
    assert (failure.kind, failure.code) == (FailureKind.THROTTLE, "rate_limited"), failure
    assert failure.retry_after == wait


def test_a_header_knows_better_than_words() -> None:
    """`Retry-After` is meant for programs."""
    failure = classify_status(429, {"retry-after": "3"}, b'"Please try again in 20s"')
    assert failure.retry_after == 3.0


def test_only_a_refusal_that_passes_has_a_wait_in_its_words() -> None:
    """A row's own failure is not put off."""
    assert classify_status(400, {}, b'"invalid: try again in 20s"').retry_after is None


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("retry in 34.074824224s.", 34.074824224),
        ("try again in 250 milliseconds", 0.25),
        ("try again in 1h2m3.5s", 3723.5),
        ("Please wait for 2 minutes and 5 seconds", 125.0),
        ("retry in 2 hours 3 minutes", 7380.0),
        ("Please wait 52 seconds before retrying.", 52.0),
        ("Your quota will reset after 2h21m19s.", 8479.0),
        ("I had to wait 20 s", None),
        ("try again later", None),
        ("retry in 20", None),
        ("try again in 999999999 hours", None),
    ],
)
def test_waits_in_words(words: str, seconds: float | None) -> None:
    """Every unit, alone or together; a number without one is not a wait, nor is a century."""
    assert retry_after_in(words) == seconds


TOO_LARGE: dict[str, tuple[int, Any, str]] = {
    "openai": (429, error("Request too large for m on tokens per min (TPM): Limit 30000, Requested "
                          "61000. The input or output tokens must be reduced.",
                          "rate_limit_exceeded", "tokens"), "too_large"),
    "openai, other words": (429, error("Rate limit reached for m on tokens per min (TPM): Limit "
                                       "6000, Used 0, Requested 12000."), "too_large"),
    "groq": (413, error("Request too large for model `m` on tokens per minute (TPM): Limit 6000, "
                        "Requested 12000, please reduce your message size and try again.",
                        "rate_limit_exceeded", "tokens"), "too_large"),
    "nginx": (413, b"<html><title>413 Request Entity Too Large</title>", "too_large"),
    "vllm": (400, error("This model's maximum context length is 2048 tokens. However, you "
                        "requested 3000 tokens (2488 in the messages, 512 in the completion)."),
             "context_length_exceeded"),
    "sglang": (400, error("The input (5000 tokens) is longer than the model's context length "
                          "(2048 tokens)."), "context_length_exceeded"),
    "llama.cpp": (500, error("the request exceeds the available context size (512 tokens), try "
                             "increasing it"), "context_length_exceeded"),
    "anthropic": (400, error("prompt is too long: 208310 tokens > 200000 maximum"),
                  "context_length_exceeded"),
    "code alone": (400, error("Please reduce the number of tokens", "context_length_exceeded"),
                   "context_length_exceeded"),
    **{name: (400, error(words), "context_length_exceeded") for name, words in {
        "vllm, older": "The decoder prompt (length 5000) is longer than the maximum model length "
                       "of 2048.",
        "moonshot": "Invalid request: Your request exceeded model token limit: 131072",
        "zhipu": "Prompt exceeds max length",
        "alibaba": "<400> InvalidParameter: Range of input length should be [1, 98304]",
        "siliconflow": "length of prompt_tokens (40000) must be less than max_seq_len (32768).",
        "xai": "This model's maximum prompt length is 131072 but the request contains 150000 "
               "tokens.",
        "tabbyapi": "Prompt length 5000 is greater than max_seq_len 4096",
        "anthropic, with its answer": "input length and `max_tokens` exceed context limit: "
                                      "190000 + 20000 > 200000",
        "gemini": "The input token count (1200000) exceeds the maximum number of tokens allowed "
                  "(1048576).",
        "databricks": "Bad request: prompt token count of 9000 exceeds the limit of 8192",
        "cohere": "too many tokens: total number of tokens in the prompt cannot exceed 4081",
    }.items()},
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "code"), TOO_LARGE.values(), ids=TOO_LARGE)
def test_what_is_too_large_is_the_rows(status: int, body: Any, code: str) -> None:
    """However long it waits, it can never succeed."""
    failure = classified(status, body)
    assert (failure.kind, failure.code) == (FailureKind.ROW, code), failure
    assert "horten the conversation" in str(failure.hint) or "larger than" in str(failure.hint)


TOO_MANY_WANTED: dict[str, tuple[int, Any]] = {
    "openai": (400, error("max_tokens is too large: 512. This model supports at most 256 "
                          "completion tokens, whereas you provided 512.", "invalid_value")),
    "vllm": (400, error("'max_tokens' or 'max_completion_tokens' is too large: 512. This model's "
                        "maximum context length is 256 tokens and your request has 10 input "
                        "tokens (512 > 256 - 10).")),
    "sglang": (400, error("Requested token count exceeds the model's maximum context length of 512 "
                          "tokens. You requested a total of 522 tokens: 10 tokens from the input "
                          "messages and 512 tokens for the completion.")),
    "tgi": (422, {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= "
                  "512. Given: 10 `inputs` tokens and 512 `max_new_tokens`"}),
    "deepseek": (400, error("Invalid max_tokens value, the valid range of max_tokens is [1, 256]")),
    "alibaba": (400, error("<400> InvalidParameter: Range of max_tokens should be [1, 256]")),
    "anthropic": (400, error("max_tokens: 512 > 256, which is the maximum allowed number of output "
                             "tokens")),
    "groq": (400, error("`max_tokens` must be less than or equal to `256`")),
    "groq, a minute's limit": (413, error("Request too large for model `m` on tokens per minute "
                                          "(TPM): Limit 500, Requested 530")),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body"), TOO_MANY_WANTED.values(), ids=TOO_MANY_WANTED)
def test_max_new_tokens_above_what_the_server_allows(status: int, body: Any) -> None:
    """No prompt is to blame: the setting is named, and the same words with less are the row's."""
    failure = classified(status, body)
    assert (failure.kind, failure.code) == (FailureKind.RUN, "max_tokens_too_large"), failure
    assert "max_new_tokens" in str(failure.hint)
    modest = Request(ordinal=0, prompt="x", max_new_tokens=16)
    assert classified(status, body, request=modest).kind is FailureKind.ROW


@pytest.mark.parametrize(
    ("status", "message", "meaning"),
    [
        (429, "Tokens per min: Limit: 6,000. Requested: 900.", "throttle rate_limited"),
        (429, "Tokens per min: Limit: 30,000. Requested: 39,212.", "row too_large"),
        (400, "max_tokens must be at most 8,192", "row bad_request"),
        (400, "max_tokens must be at most 512", "run max_tokens_too_large"),
    ],
)
def test_numbers_with_thousands_separators_are_read_whole(
    status: int, message: str, meaning: str
) -> None:
    """A request that fits into a minute waits for the next one."""
    failure = classified(status, error(message))
    assert f"{failure.kind} {failure.code}" == meaning


FILTERED: dict[str, tuple[int, Any]] = {
    "azure": (400, error("The response was filtered: the prompt triggered the content management "
                         "policy.", "content_filter", status=400,
                         innererror={"code": "ResponsibleAIPolicyViolation"})),
    "openai": (400, error("Invalid prompt: your prompt was flagged as potentially violating our "
                          "usage policy.", "invalid_prompt")),
    "openrouter": (403, error("The model needs moderation; this input was flagged for violence",
                              403, metadata={"reasons": ["violence"]})),
    "deepseek": (400, error("Content Exists Risk", "invalid_request_error")),
    "alibaba": (400, error("Input data may contain inappropriate content.",
                           "data_inspection_failed")),
    "moonshot": (400, error("The request was rejected because it was considered high risk",
                            kind="content_filter")),
    "zhipu": (400, {"error": {"code": "1301", "message": "输入可能包含不安全或敏感内容"}}),
    "xai": (403, {"code": "x", "error": "Content violates usage guidelines."}),
    "anthropic": (400, error("Output blocked by content filtering policy")),
    "litellm": (400, error("Violated guardrail policy")),
    "minimax": (200, {"base_resp": {"status_code": 1026, "status_msg": "input new_sensitive"}}),
    "volcengine": (400, error("The request failed because the input text may contain sensitive "
                              "information.", "InputTextSensitiveContentDetected")),
    "openai's safety system": (400, error("Your request was rejected as a result of our safety "
                                          "system.")),
    "portkey": (446, error("The guardrail checks defined in the config failed.")),
    "a gateway's policy": (403, error("Prompt violates the security policy of this gateway.")),
    "openai, a policy": (400, error("This request has been flagged: violation of our policies.")),
    "litellm's filter": (403, {"error": "Content blocked: keyword 'x' detected (severity: high)"}),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body"), FILTERED.values(), ids=FILTERED)
def test_a_filtered_prompt_in_every_providers_words(status: int, body: Any) -> None:
    """It is the row's own, and its code says so."""
    failure = classified(status, body)
    assert (failure.kind, failure.code) == (FailureKind.ROW, "content_filter"), failure


NOT_FILTERED: dict[str, tuple[int, Any, str]] = {
    "the filter is down": (503, error("The content filter service is temporarily unavailable."),
                           "unavailable starting"),
    "the filter broke": (500, error("Guardrail check timed out."), "transient server_error"),
    "the filter is busy": (429, error("Too many requests to the safety system, try again in 3s."),
                           "throttle rate_limited"),
    "the account": (401, error("Your account was flagged for violating our usage policies."),
                    "run unauthorized"),
    "the key": (403, error("This API key was flagged as leaked."), "run forbidden"),
    "the organisation's policy": (403, error("Request is prohibited by organization's policy. "
                                             "vpcServiceControlsUniqueIdentifier: x",
                                             403, reason="SECURITY_POLICY_VIOLATED"),
                                  "run forbidden"),
    "an organisation's constraint": (403, error("The request violates organization policy "
                                                "constraints/gcp.restrictServiceUsage", 403),
                                     "run forbidden"),
    "the network's policy": (403, error("Access from 10.0.0.1 violates the network policy."),
                             "run forbidden"),
    "bedrock cannot check": (403, error("Bedrock guardrail request failed: AccessDenied"),
                             "run forbidden"),
    "the moderator": (404, error("The model of the safety system was not found."),
                      "run not_found"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "meaning"), NOT_FILTERED.values(), ids=NOT_FILTERED)
def test_a_word_of_filters_alone_makes_no_row_fail(status: int, body: Any, meaning: str) -> None:
    """A filter that is down, or a flagged account, is not about one prompt."""
    failure = classified(status, body)
    assert f"{failure.kind} {failure.code}" == meaning


OTHERS: dict[str, tuple[int, Any, str]] = {
    "groq's schema": (400, error("Failed to generate JSON. See 'failed_generation'.",
                                 "json_validate_failed", failed_generation="{"),
                      "transient generation_failed"),
    "groq's tools": (400, error("Failed to call a function. See 'failed_generation'.",
                                "tool_use_failed"), "transient generation_failed"),
    "groq's flex tier": (498, error("Flex tier capacity exceeded"), "transient no_capacity"),
    "litellm's model": (400, error("/chat/completions: Invalid model name passed in model=m. Call "
                                   "`/v1/models` to view available models", "400"),
                        "run not_found"),
    "transformers serve's model": (400, {"detail": "Server is pinned to 'org/model'; requested "
                                                   "'m'."}, "run not_found"),
    "litellm without a database": (400, error("No connected db.", "400", "no_db_connection"),
                                   "run unauthorized"),
    "gemini's key": (400, error("API key not valid. Please pass a valid API key."),
                     "run unauthorized"),
    "gemini's key, expired": (400, error("API key expired. Please renew the API key."),
                              "run unauthorized"),
    "gemini without a key": (400, error("Missing or invalid Authorization header."),
                             "run unauthorized"),
    "litellm without a key": (500, error("Authentication Error, No api key passed in.", "401",
                                         "auth_error"), "run unauthorized"),
    "groq's account": (400, error("Organization has been restricted.", "organization_restricted"),
                       "run forbidden"),
    "mistral's model": (400, error("Invalid model: foo", "1500", "invalid_model"), "run not_found"),
    "openrouter's model": (400, error("foo/bar is not a valid model ID", 400), "run not_found"),
    "tabbyapi without a model": (400, {"detail": "No models are currently loaded."},
                                 "run not_found"),
    "cloudflare's tunnel": (530, b"error code: 1033", "transient bad_gateway"),
    "cloudflare's handshake": (525, b"error code: 525", "transient bad_gateway"),
    "ray serve is full": (503, b"Request dropped due to backpressure (num_queued_requests=5)",
                          "throttle overloaded"),
    "llama.cpp's slots are full together": (
        500, error("Context size has been exceeded.", 500, kind="server_error"),
        "throttle overloaded"),
    "lm studio's context": (400, error("Context size has been exceeded."),
                            "row context_length_exceeded"),
    "azure api management's quota": (
        403, {"statusCode": 403, "message": "Out of call volume quota. Quota will be replenished "
              "in 00:05:00."}, "throttle rate_limited"),
    "triton is full": (503, {"error": "Exceeds maximum queue size"}, "throttle overloaded"),
    "envoy is full": (503, f"{ENVOY}overflow".encode(), "throttle overloaded"),
    "envoy is alone": (503, f"{ENVOY}connection failure".encode(), "unavailable starting"),
    "a firewall's question": (403, b"<html><title>Just a moment...</title>", "run blocked"),
    "a firewall": (403, b"<html><title>Attention Required! | Cloudflare</title>", "run blocked"),
    "451": (451, error("unavailable for legal reasons"), "run forbidden"),
    "openrouter's images": (404, error("No endpoints found that support image input", 404),
                            "row unsupported_input"),
    "llama.cpp's images": (500, error(
        "image input is not supported - hint: if this is unexpected, you may need to provide the "
        "mmproj", 500, "server_error"), "row unsupported_input"),
    "vllm's backlog": (503, error("The engine has reached its prefill token backlog limit. Please "
                                  "try again later or on a different instance.", 503),
                       "throttle overloaded"),
    "vllm's queue": (503, error("The engine is currently busy and cannot accept new requests.",
                                503), "throttle overloaded"),
    "sglang's queue": (503, error("The request queue is full.", 503), "throttle overloaded"),
    "sglang waited": (503, error("Request waiting timeout reached.", 503), "throttle overloaded"),
    "sglang ran": (503, error("Request running timeout reached.", 503), "throttle overloaded"),
    "sglang's priorities": (503, error("The request is aborted by a higher priority request."),
                            "throttle overloaded"),
    "no healthy upstream": (503, b"no healthy upstream", "unavailable starting"),
    "kubernetes": (503, error("no endpoints available for service \"m\""), "unavailable starting"),
    "still loading": (500, error("Model m is still loading"), "unavailable starting"),
    "a text of tools": (400, error("the tool call could not be parsed"), "row bad_request"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "meaning"), OTHERS.values(), ids=OTHERS)
def test_what_else_servers_say(status: int, body: Any, meaning: str) -> None:
    """Each in the words of the server that says it."""
    failure = classified(status, body)
    assert f"{failure.kind} {failure.code}" == meaning


IN_DISGUISE: dict[str, tuple[Any, str, str]] = {
    "minimax": ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit "
                 "reached"}}, "throttle rate_limited", "rate limit reached"),
    "cloudflare": ({"result": None, "success": False, "errors": [
        {"code": 3040, "message": "Capacity temporarily exceeded"}]},
        "throttle rate_limited", "Capacity temporarily exceeded"),
    "fastapi": ({"detail": "The model is overloaded"}, "throttle rate_limited", "overloaded"),
    "vllm": ({"object": "error", "message": "maximum context length is 9", "code": 400},
             "row context_length_exceeded", "maximum context"),
    "baidu": ({"error_code": 336501, "error_msg": "Rate limit reached for RPM"},
              "throttle rate_limited", "RPM"),
    "siliconflow": ({"code": 20012, "message": "Model does not exist. Please check it carefully.",
                     "data": None}, "run not_found", "does not exist"),
    "in a choice": ({"choices": [{"index": 0, "error": {"code": 502, "message": "Upstream died"},
                                  "message": {"role": "assistant", "content": ""},
                                  "finish_reason": "error"}]},
                    "transient bad_gateway", "Upstream died"),
    "a list": ([{"error": {"code": 429, "message": "slow"}}], "throttle rate_limited", "slow"),
    "anthropic": ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
                  "throttle rate_limited", "Overloaded"),
    "405": ({"error": {"code": 405, "message": "not here"}}, "run not_found", "not here"),
    "a redirect": ({"error": {"code": 302, "message": "moved"}}, "run redirect", "302"),
    "words alone": ({"message": "The cat sat on the keyboard"}, "bad_response unusable",
                    "The cat sat"),
    "a good end": ({"choices": None, "base_resp": {"status_code": 0, "status_msg": "success"}},
                   "bad_response unusable", "JSON without an answer"),
    "a sign of life": ({"type": "ping"}, "bad_response unusable", "JSON without an answer"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "meaning", "said"), IN_DISGUISE.values(), ids=IN_DISGUISE)
def test_an_error_inside_a_200(body: Any, meaning: str, said: str) -> None:
    """Wherever it stands it is read, shown, and means what it would have with its own status."""
    failure = classified(200, body)
    assert f"{failure.kind} {failure.code}" == meaning, failure
    assert said in failure.message


class _EventError(Exception):
    """An error among events, as a reader of streams raises it: made of the event."""


@pytest.mark.parametrize(
    ("event", "meaning"),
    [
        ({"object": "error", "message": "maximum context length is 9", "code": 400},
         "row context_length_exceeded"),
        ({"message": "Request waiting timeout reached.", "code": 503}, "throttle overloaded"),
        ({"detail": "slow down"}, "throttle rate_limited"),
        ({"code": "1113", "message": "Insufficient balance"}, "run no_credit"),
        ({"error": {"message": "No endpoints found that support tool use", "code": 404}},
         "row unsupported_input"),
        ({"code": 403, "message": "not for you"}, "run forbidden"),
        ({"x": 1}, "transient stream_error"),
    ],
)  # fmt: skip
def test_an_error_event_of_a_stream(event: Any, meaning: str) -> None:
    """It means what it says, with or without a key `error`, and with its own status."""
    stream = Exchange(status=200, headers={"content-type": "text/event-stream"})
    failure = classify(stream, ASKED, _EventError(event))
    assert f"{failure.kind} {failure.code}" == meaning


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"detail": [{"loc": ["body", "messages", 0, "role"], "msg": "Field required",
                      "type": "missing", "input": {"content": "Say hello"}}]},
         "messages.0.role: Field required: missing"),
        ({"detail": [{"loc": ["body", "a"], "msg": "Field required"},
                     {"loc": ["body", "b"], "msg": "Field required"}]},
         "a: Field required: b: Field required"),
        ({"detail": [{"loc": "x", "msg": "odd"}]}, "odd"),
        ({"detail": [{"loc": [1.5, None], "msg": "odd"}]}, "odd"),
    ],
)  # fmt: skip
def test_a_validation_error_names_its_field(body: Any, message: str) -> None:
    """`loc` is shown as a path, from the field of the body on."""
    assert classified(422, body).message == message


@pytest.mark.promise("S1")
@pytest.mark.parametrize(
    ("body", "message"),
    [
        (error("Request too large on tokens: Limit 6000, Requested 12000", "rate_limit_exceeded",
               "tokens"),
         "Request too large on tokens: Limit 6000, Requested 12000: tokens: rate_limit_exceeded"),
        (error("Invalid token", "invalid_token", "invalid_request_error"),
         "Invalid token: invalid_request_error: invalid_token"),
        (b"Invalid token: invalid_request_error", "Invalid token: invalid_request_error"),
        (b"Incorrect API key: invalid_api_key.", "Incorrect API key: invalid_api_key."),
        (b"api_key: correct_horse-battery9", "api_key: [secret]"),
        (b"token: MY_OWN_TOKEN", "token: [secret]"),
        (error("Incorrect API key provided: sk-abcdefgh", "invalid_api_key"),
         "Incorrect API key provided: [secret]: invalid_api_key"),
    ],
)  # fmt: skip
def test_codes_are_not_secrets_and_keys_are(body: Any, message: str) -> None:
    """What decides and helps stays; what may open a door never does."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert classify_status(418, {}, raw).message == message


def test_a_header_that_was_sent_does_not_hide_what_decides() -> None:
    """A header's value that is a word of the server's is hidden from view, and read."""
    body = json.dumps(error("The engine is overloaded")).encode()
    wire = Exchange(
        status=503,
        response=httpx2.Response(503, content=body),
        secrets=(SecretStr("overloaded"),),
    )
    failure = classify(wire, ASKED)
    assert (failure.code, failure.message) == ("overloaded", "The engine is [secret]")


@pytest.mark.parametrize("keyed", [True, False])
@pytest.mark.parametrize("status", [400, 401])
def test_who_sent_no_key_is_told_so(status: int, keyed: bool) -> None:
    """And how to give one; a key that was sent was rejected."""
    body = b'{"error": {"message": "No connected db."}}'
    response = httpx2.Response(status, content=body)
    failure = classify(Exchange(status=status, response=response, keyed=keyed), ASKED)
    assert ("No key was sent" in str(failure.hint)) is not keyed
    assert ("api_key" in str(failure.hint)) or keyed


@pytest.mark.parametrize(
    ("body", "told"),
    [(b"Internal Server Error", True), (b"", True), (b"CUDA error: out of memory", False)],
)
def test_a_500_that_says_nothing_may_want_a_key(body: bytes, told: bool) -> None:
    """Some gateways answer so to a request without one; a server that says more means that."""
    response = httpx2.Response(500, content=body)
    failure = classify(Exchange(status=500, response=response, keyed=False), ASKED)
    assert (failure.code, "No key was sent" in str(failure.hint)) == ("server_error", told)
    assert classify(Exchange(status=500, response=response), ASKED).hint is None


def test_a_length_that_counts_answers_refuses_no_parameter() -> None:
    """The row is too long; to ask for one answer at a time would not make it shorter."""
    words = "maximum context length is 2048 tokens, 9000 for n = 3; only n = 1 is supported here"
    failure = classified(400, error(words), request=replace(ASKED, n=3))
    assert (failure.code, failure.parameter) == ("context_length_exceeded", None)
