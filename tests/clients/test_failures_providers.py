"""What providers say: some in the words of public threads, others as their documentation has it."""

from __future__ import annotations

from typing import Any

import pytest
from test_failures_words import classified, error

from distilabel_endpoints.errors import CreditError, run_error

GEMINI_FREE = (
    "You exceeded your current quota, please check your plan and billing details. * Quota "
    "exceeded for metric: free_tier_requests, limit: {}, model: m. Please retry in 25.4s."
)
REPORTED: dict[str, tuple[int, Any, str]] = {
    "deepseek's model": (400, error("Model Not Exist", "invalid_request_error"), "run not_found"),
    "cloudflare's model": (
        400, {"errors": [{"code": 5007, "message": "No such model @cf/x or task"}]},
        "run not_found"),
    "lm studio has several": (
        400, error("Multiple models are loaded. Please specify a model by providing a 'model' "
                   "field in the request body."), "run not_found"),
    "gemini's key, deleted": (
        400, [error("API Key not found. Please pass a valid API key.", 400, details=[
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}])],
        "run unauthorized"),
    "gemini's key, by its reason": (
        400, [error("Rejected.", 400, details=[{"reason": "API_KEY_INVALID"}])],
        "run unauthorized"),
    "novita's key": (
        400, {"code": 400, "reason": "FAILED_TO_AUTH", "message": "failed to authenticate API key"},
        "run unauthorized"),
    "anthropic's organisation": (
        400, {"type": "error", "error": {"type": "invalid_request_error",
              "message": "This organization has been disabled."}}, "run forbidden"),
    "gemini, not in the free tier": (429, [error(GEMINI_FREE.format(0), 429)], "run no_credit"),
    "gemini, a rate": (429, [error(GEMINI_FREE.format(20), 429)], "throttle rate_limited"),
    "gemini, one of two": (
        429, [error(GEMINI_FREE.format(0) + GEMINI_FREE.format(20), 429)],
        "throttle rate_limited"),
    "a limit below one": (429, error("Rate limit: 0.5 requests"), "throttle rate_limited"),
    "openai, not for this account": (
        429, error("Request too large for m on tokens per min (TPM): Limit 0, Requested 1."),
        "run no_credit"),
    "cohere, a month": (
        429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."},
        "run no_credit"),
    "cohere, a minute": (
        429, {"message": "You are using a Trial key, which is limited to 10 API calls / minute."},
        "throttle rate_limited"),
    "rapidapi, a month": (
        429, {"message": "You have exceeded the MONTHLY quota for Requests on your current plan."},
        "run no_credit"),
    "rapidapi, a day": (
        429, {"message": "You have exceeded the DAILY quota for Requests on your current plan."},
        "throttle rate_limited"),
    "ollama, a week": (
        429, {"error": "you (me) have reached your weekly usage limit, upgrade for higher limits"},
        "run no_credit"),
    "ollama, an hour": (
        429, {"error": "you've reached your hourly usage limit, please wait or upgrade"},
        "throttle rate_limited"),
    "portkey's budget": (412, {"error": {"message": "Budget exhausted"}}, "run no_credit"),
    "openai, for safety": (
        400, error("Invalid prompt: we've limited access to this content for safety reasons.",
                   "invalid_prompt"), "row content_filter"),
    "a moderation policy": (
        403, {"message": "Your request was blocked by our moderation policy"},
        "row content_filter"),
    "vertex's length": (
        400, [error("Unable to submit request because the input token count is 1251952 but model "
                    "only supports up to 1048576.", 400)], "row context_length_exceeded"),
    "mlc's length": (
        400, {"object": "error", "code": 400, "message": "Request prompt has 5000 tokens in total, "
              "larger than the model input length limit 4096."}, "row context_length_exceeded"),
    "openvino's length": (
        400, {"error": "Number of prompt tokens: 5000 exceeds model max length: 2048"},
        "row context_length_exceeded"),
    "vertex, of an answer": (
        400, [error("Unable to submit request because it has a maxOutputTokens value of 512 but "
                    "the supported range is from 1 (inclusive) to 257 (exclusive).", 400)],
        "run max_tokens_too_large"),
    "bedrock, of an answer": (
        400, {"message": "The maximum tokens you requested exceeds the model limit of 256. Try "
              "again with a maximum tokens value that is lower than 256."},
        "run max_tokens_too_large"),
    "bedrock, a greater limit": (
        400, {"message": "The maximum tokens you requested exceeds the model limit of 4096."},
        "row bad_request"),
    "cloudflare's rules": (403, b"error code: 1020", "run blocked"),
}  # fmt: skip


@pytest.mark.parametrize(("status", "body", "meaning"), REPORTED.values(), ids=REPORTED)
def test_what_providers_say(status: int, body: Any, meaning: str) -> None:
    """A refusal that can never succeed is known as one, and a rate as one that passes."""
    failure = classified(status, body)
    assert f"{failure.kind} {failure.code}" == meaning


def test_a_limit_of_nothing_names_the_plan() -> None:
    """To wait or to pay for more of the same does not help; another plan or model does."""
    failure = classified(429, error(GEMINI_FREE.format(0)))
    assert "plan" in str(failure.hint)
    assert isinstance(run_error(failure), CreditError)


IN_DISGUISE: dict[str, tuple[Any, str, str]] = {
    "tencent": ({"Response": {"Error": {"Code": "AuthFailure.SignatureExpire",
                                        "Message": "Signature expired"}, "RequestId": "x"}},
                "run unauthorized", "Signature expired"),
    "a function": ({"statusCode": 402, "body": '{"error": "pay first"}'},
                   "run no_credit", "pay first"),
    "a function's crash": ({"errorMessage": "Task timed out", "errorType": "X"},
                           "bad_response unusable", "Task timed out"),
    "api management": ({"statusCode": 429, "message": "Try again in 5 seconds."},
                       "throttle rate_limited", "Try again"),
    "gemini's feedback": ({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}},
                          "row content_filter", "SAFETY"),
    "feedback that is none": ({"promptFeedback": {"blockReason": ["SAFETY"]}, "message": "odd"},
                              "bad_response unusable", "odd"),
    "success": ({"success": False, "description": "the worker died"}, "bad_response unusable",
                "the worker died"),
    "status": ({"status": "Failure", "reason": "the worker died"}, "bad_response unusable",
               "the worker died"),
    "a status that is not a word": ({"status": {"code": 1}, "reason": "x"},
                                    "bad_response unusable", "JSON without an answer"),
    "capital letters": ({"Error": "the worker died"}, "bad_response unusable", "the worker died"),
    "an exception": ({"exception": "IndexError: 3"}, "bad_response unusable", "IndexError: 3"),
    "a body without an error": ({"statusCode": 200, "body": "{}"}, "bad_response unusable",
                                "JSON without an answer"),
}  # fmt: skip


@pytest.mark.parametrize(("body", "meaning", "said"), IN_DISGUISE.values(), ids=IN_DISGUISE)
def test_an_error_inside_a_200_under_other_keys(body: Any, meaning: str, said: str) -> None:
    """Its words are shown, and decide."""
    failure = classified(200, body)
    assert f"{failure.kind} {failure.code}" == meaning, failure
    assert said in failure.message
