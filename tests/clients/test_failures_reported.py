"""Errors as people report them of providers, gateways and servers: what each one means."""

from __future__ import annotations

from typing import Any

import pytest
from test_failures_words import classified, error


def baidu(code: int, message: str) -> tuple[int, Any]:
    return 200, {"error_code": code, "error_msg": message}


REPORTED: dict[str, tuple[int, Any, str]] = {
    "gemini 400 missing auth": (
        400,
        [error("Missing Authorization header.", 400)],
        "run unauthorized",
    ),
    "deepinfra 403 not authenticated": (403, error("Not authenticated"), "run unauthorized"),
    "aws expired": (
        403,
        {
            "__type": "ExpiredTokenException",
            "message": "The security token included in the request is expired",
        },
        "run unauthorized",
    ),
    "aws Message": (
        403,
        {"Message": "The security token included in the request is invalid."},
        "run unauthorized",
    ),
    "aws signature": (
        403,
        {"message": "Signature expired: 2025 is now earlier than"},
        "run unauthorized",
    ),
    "bedrock model id": (
        400,
        {"message": "The provided model identifier is invalid."},
        "run not_found",
    ),
    "bedrock on-demand": (
        400,
        {
            "message": (
                "Invocation of model ID x with on-demand throughput isn't "
                "supported. Retry your request with the ID or ARN of an "
                "inference profile that contains this model."
            )
        },
        "run not_found",
    ),
    "bedrock throttle 400": (
        400,
        {
            "__type": "ThrottlingException",
            "message": "Too many requests, please wait before trying again.",
        },
        "throttle rate_limited",
    ),
    "bedrock 503": (
        503,
        {"message": "Too many connections, please wait before trying again."},
        "throttle overloaded",
    ),
    "bedrock not ready 429": (
        429,
        {"message": "Model is not ready for inference. Please try again."},
        "throttle rate_limited",
    ),
    "dashscope tpm": (
        429,
        error(
            (
                "You exceeded your current quota, please check your plan and "
                "billing details. For more information on this error, read the "
                "docs: "
                "https://help.aliyun.com/zh/model-studio/error-code#token-limit"
            ),
            "insufficient_quota",
            "insufficient_quota",
        ),
        "throttle rate_limited",
    ),
    "dashscope alloc": (
        429,
        error("Allocated quota exceeded, please increase your quota limit.", "insufficient_quota"),
        "throttle rate_limited",
    ),
    "dashscope burst": (
        429,
        error(
            (
                "Request rate increased too quickly. To ensure system "
                "stability, please adjust your client logic to scale requests "
                "more smoothly over time."
            ),
            "limit_burst_rate",
        ),
        "throttle rate_limited",
    ),
    "zhipu 1302": (
        429,
        {"error": {"code": "1302", "message": "您的账户已达到速率限制，请您控制请求频率"}},
        "throttle rate_limited",
    ),
    "zhipu 1261": (
        400,
        {"error": {"code": "1261", "message": "Prompt 超长"}},
        "row context_length_exceeded",
    ),
    "zhipu 1211": (
        400,
        {"error": {"code": "1211", "message": "模型不存在，请检查模型代码。"}},
        "run not_found",
    ),
    "lmstudio 200 endpoint": (
        200,
        {
            "error": (
                "Unexpected endpoint or method. (POST /chat/completions). Returning 200 anyway"
            )
        },
        "run not_found",
    ),
    "lmstudio crash": (
        400,
        {
            "error": (
                "The model has crashed without additional information. (Exit "
                "code: 18446744072635812000)"
            )
        },
        "transient server_error",
    ),
    "lmstudio unloaded": (400, {"error": "Model unloaded."}, "transient server_error"),
    "lmstudio channel": (400, {"error": "Channel Error"}, "transient server_error"),
    "ollama mem": (
        500,
        error("model requires more system memory (5.6 GiB) than is available (4.1 GiB)"),
        "transient server_error",
    ),
    "ollama busy": (
        503,
        error("server busy, please try again.  maximum pending requests exceeded"),
        "throttle overloaded",
    ),
    "ollama tools": (
        400,
        error("registry.ollama.ai/library/gemma:2b does not support tools"),
        "row unsupported_input",
    ),
    "ollama runner": (
        500,
        error("llama runner process has terminated: exit status 2"),
        "transient server_error",
    ),
    "nginx plain http": (
        400,
        (
            b"<html><head><title>400 The plain HTTP request was sent to "
            b"HTTPS port</title></head><body><center><h1>400 Bad "
            b"Request</h1></center></body></html>"
        ),
        "run wrong_scheme",
    ),
    "go plain http": (
        400,
        b"Client sent an HTTP request to an HTTPS server.\n",
        "run wrong_scheme",
    ),
    "apache plain http": (
        400,
        (
            b"<html><body>Your browser sent a request that this server "
            b"could not understand.<br/>Reason: You're speaking plain HTTP "
            b"to an SSL-enabled server port.<br /> Instead use the HTTPS "
            b"scheme"
        ),
        "run wrong_scheme",
    ),
    "cloudflare neurons": (
        429,
        {
            "errors": [
                {
                    "message": (
                        "AiError: AiError: you have used up your daily free allocation "
                        "of 10,000 neurons, please upgrade to Cloudflare's Workers "
                        "Paid plan"
                    ),
                    "code": 4006,
                }
            ],
            "success": False,
            "result": None,
        },
        "run no_credit",
    ),
    "cloudflare prompt blocked": (
        424,
        {
            "success": False,
            "result": [],
            "messages": [],
            "error": [{"code": 2016, "message": "Prompt blocked due to security configurations"}],
        },
        "row content_filter",
    ),
    "cloudflare gw 401": (
        401,
        {"success": False, "error": [{"code": 2009, "message": "Unauthorized"}]},
        "run unauthorized",
    ),
    "cloudflare gw 429": (
        429,
        {"success": False, "error": [{"code": 2003, "message": "Rate limited"}]},
        "throttle rate_limited",
    ),
    "litellm token budget": (
        401,
        error(
            (
                "Authentication Error, ExceededTokenBudget: Current spend for "
                "token: 7.2e-05; Max Budget for Token: 2e-07"
            ),
            "401",
            "auth_error",
        ),
        "run no_credit",
    ),
    "litellm crossed": (
        429,
        error(
            "Max parallel request limit reached. Crossed TPM / RPM / Max "
            "Parallel Request Limit under minute"
        ),
        "throttle rate_limited",
    ),
    "litellm key model": (
        401,
        error(
            (
                "key not allowed to access model. This key can only access "
                "models=['a']. Tried to access b"
            ),
            "401",
            "key_model_access_denied",
        ),
        "run unauthorized",
    ),
    "litellm timeout": (
        408,
        error("litellm.Timeout: APITimeoutError - Request timed out."),
        "transient request_timeout",
    ),
    "together not available": (
        400,
        error(
            (
                "Unable to access non-serverless model m. Please visit "
                "https://api.together.ai/models/m to create and start a new "
                "dedicated endpoint for the model."
            ),
            "model_not_available",
        ),
        "run not_found",
    ),
    "groq decommissioned": (
        400,
        error(
            (
                "The model `m` has been decommissioned and is no longer "
                "supported. Please refer to docs"
            ),
            "model_decommissioned",
        ),
        "run not_found",
    ),
    "groq terms": (
        400,
        error(
            (
                "The model `m` requires terms acceptance. Please have the org "
                "admin accept the terms at"
            ),
            "model_terms_required",
        ),
        "run forbidden",
    ),
    "nim degraded": (
        400,
        {
            "status": 400,
            "title": "Bad Request",
            "detail": "Function id 'x': DEGRADED function cannot be invoked",
        },
        "unavailable starting",
    ),
    "nim notfound": (
        404,
        {"status": 404, "title": "Not Found", "detail": "Function 'x': Not found for account 'y'"},
        "run not_found",
    ),
    "apigee": (
        429,
        {
            "fault": {
                "faultstring": (
                    "Spike arrest violation. Allowed rate : MessageRate{messagesPerPeriod=5}"
                ),
                "detail": {"errorcode": "policies.ratelimit.SpikeArrestViolation"},
            }
        },
        "throttle rate_limited",
    ),
    "apigee 500": (
        500,
        {
            "fault": {
                "faultstring": "Rate limit quota violation. Quota limit  exceeded. Identifier : x",
                "detail": {"errorcode": "policies.ratelimit.QuotaViolation"},
            }
        },
        "throttle rate_limited",
    ),
    "wso2": (
        429,
        {
            "fault": {
                "code": 900800,
                "message": "Message throttled out",
                "description": "You have exceeded your quota .You can access API after 2025-Jan-01",
            }
        },
        "throttle rate_limited",
    ),
    "apigee words": (
        403,
        {
            "fault": {
                "faultstring": "Invalid ApiKey",
                "detail": {"errorcode": "oauth.v2.InvalidApiKey"},
            }
        },
        "run unauthorized",
    ),
    "databricks budget": (
        403,
        {
            "error_code": "PERMISSION_DENIED",
            "message": (
                "PERMISSION_DENIED: The endpoint is temporarily disabled due "
                "to a Databricks-set rate limit of 0."
            ),
        },
        "run forbidden",
    ),
    "420": (420, b"Enhance your calm", "throttle rate_limited"),
    "grpc": (
        500,
        error(
            "rpc error: code = ResourceExhausted desc = grpc: received "
            "message larger than max (5000000 vs. 4194304)"
        ),
        "row too_large",
    ),
    "body too large": (400, {"error": "http: request body too large"}, "row too_large"),
    "kong ring": (
        503,
        {"message": "failure to get a peer from the ring-balancer"},
        "unavailable starting",
    ),
    "kong 401": (401, {"message": "No API key found in request"}, "run unauthorized"),
    "kong guard": (400, error("bad request"), "row bad_request"),
    "azure vnet": (
        403,
        error("Access denied due to Virtual Network/Firewall rules.", "403"),
        "run blocked",
    ),
    "azure nodeploy": (
        404,
        error("The API deployment for this resource does not exist.", "DeploymentNotFound"),
        "run not_found",
    ),
    "azure op": (
        400,
        error(
            ("The chatCompletion operation does not work with the specified model, m."),
            "OperationNotSupported",
        ),
        "run not_found",
    ),
    "openrouter policy": (
        404,
        error(
            (
                "No endpoints found matching your data policy (Free model "
                "publication). Configure: "
                "https://openrouter.ai/settings/privacy"
            ),
            404,
        ),
        "run forbidden",
    ),
    "openrouter guard": (
        404,
        error(
            (
                "No endpoints available matching your guardrail restrictions "
                "and data policy. Configure: x"
            ),
            404,
        ),
        "run forbidden",
    ),
    "openrouter allowed": (
        404,
        error("No allowed providers are available for the selected model.", 404),
        "run not_found",
    ),
    "vllm engine": (
        500,
        error(
            ("EngineCore encountered an issue. See stack trace (above) for the root cause."), 500
        ),
        "transient server_error",
    ),
    "snowflake": (
        403,
        {
            "code": "003001",
            "message": (
                "This account is not allowed to access this endpoint. Please "
                "contact Snowflake support."
            ),
        },
        "run forbidden",
    ),
    "snowflake ip": (
        403,
        {
            "code": "390422",
            "message": (
                "Incoming request with IP/Token 1.2.3.4 is not allowed to access Snowflake."
            ),
        },
        "run forbidden",
    ),
    "watsonx expired": (
        401,
        {
            "errors": [
                {
                    "code": "authentication_token_expired",
                    "message": "Failed to authenticate the request due to an expired token",
                }
            ]
        },
        "run unauthorized",
    ),
    "watsonx 404 model": (
        404,
        {
            "errors": [
                {
                    "code": "model_not_supported",
                    "message": "Model 'x' is not supported for this environment.",
                }
            ]
        },
        "run not_found",
    ),
    "mistral tier": (
        429,
        {
            "object": "error",
            "message": "Service tier capacity exceeded for this model.",
            "type": "service_tier_capacity_exceeded",
            "code": "3505",
        },
        "throttle rate_limited",
    ),
    "mistral unauth": (401, {"message": "Unauthorized", "request_id": "x"}, "run unauthorized"),
    "mistral 503": (
        503,
        (
            b"upstream connect error or disconnect/reset before headers. "
            b"reset reason: connection timeout"
        ),
        "unavailable starting",
    ),
    "hf cold": (
        503,
        {"error": "Model m is currently loading", "estimated_time": 20.0},
        "unavailable starting",
    ),
    "tgi incomplete": (
        500,
        {"error": "Incomplete generation", "error_type": "incomplete_generation"},
        "transient server_error",
    ),
    "anthropic overloaded 200-stream": (
        200,
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        "throttle rate_limited",
    ),
    "envoy rbac": (403, b"RBAC: access denied", "run forbidden"),
    "envoy local": (429, b"local_rate_limited", "throttle rate_limited"),
    "sso page": (403, b"<html><title>Sign in</title>", "run forbidden"),
    "siliconflow busy": (
        503,
        {
            "code": 50505,
            "message": "Model service overloaded. Please try again later.",
            "data": None,
        },
        "throttle overloaded",
    ),
    "deepseek 400 len": (
        400,
        error(
            "This model's maximum context length is 131072 tokens. "
            "However, you requested 140000 tokens (139000 in the messages, "
            "1000 in the completion). Please reduce the length of the "
            "messages or completion."
        ),
        "row context_length_exceeded",
    ),
    "lmdeploy len": (
        400,
        {
            "object": "error",
            "message": "Input length 5000 exceeds the session_len 4096",
            "code": 400,
        },
        "row context_length_exceeded",
    ),
    "mlx": (404, {"error": "Repository Not Found"}, "run not_found"),
    "perplexity": (
        401,
        b"<html><head><title>401 Authorization Required</title></head>",
        "run unauthorized",
    ),
    "moonshot overload": (
        429,
        error(
            "The engine is currently overloaded, please try again later",
            kind="engine_overloaded_error",
        ),
        "throttle rate_limited",
    ),
    "volc model closed": (
        404,
        error(
            ("The model or endpoint x does not exist or you do not have access to it."),
            "InvalidEndpointOrModel.NotFound",
        ),
        "run not_found",
    ),
    "baidu 18": (*baidu(18, "Open api qps request limit reached"), "throttle rate_limited"),
    "baidu 17": (*baidu(17, "Open api daily request limit reached"), "throttle rate_limited"),
    "baidu key": (*baidu(110, "Access token invalid or no longer valid"), "run unauthorized"),
    "baidu 336007": (
        *baidu(336007, "the max input characters is 4800"),
        "row context_length_exceeded",
    ),
    "minimax token": (
        200,
        {
            "base_resp": {
                "status_code": 1004,
                "status_msg": (
                    "login fail: Please carry the API secret key in the 'Authorization' field"
                ),
            }
        },
        "run unauthorized",
    ),
    "minimax long": (
        200,
        {"base_resp": {"status_code": 1039, "status_msg": "token limit"}},
        "row context_length_exceeded",
    ),
    "openai 5xx shed": (
        503,
        error(
            "The server is currently overloaded with other requests. Sorry "
            "about that! You can retry your request"
        ),
        "throttle overloaded",
    ),
    "openai slow down": (503, error("Slow Down"), "throttle overloaded"),
    "openai verify": (
        403,
        error(
            ("Your organization must be verified to use the model `m`. Please go to: "),
            "model_not_found",
        ),
        "run forbidden",
    ),
    "openai country": (
        403,
        error(
            "Country, region, or territory not supported",
            "unsupported_country_region_territory",
            "request_forbidden",
        ),
        "run forbidden",
    ),
    "openai img": (
        400,
        error("Invalid content type. image_url is only supported by certain models."),
        "row unsupported_input",
    ),
    "openai invalid img": (
        400,
        error("Error while downloading https://x/y.png."),
        "row bad_request",
    ),
    "gemini region": (
        400,
        [
            error(
                "User location is not supported for the API use.", 400, status="FAILED_PRECONDITION"
            )
        ],
        "run forbidden",
    ),
    "gemini 503": (
        503,
        [error("The model is overloaded. Please try again later.", 503)],
        "throttle overloaded",
    ),
    "gemini blocked": (
        403,
        [
            error(
                (
                    "Requests to this API generativelanguage.googleapis.com method "
                    "google.ai.generativelanguage.v1beta.GenerativeService.Generate"
                    "Content are blocked."
                ),
                403,
            )
        ],
        "run forbidden",
    ),
}


@pytest.mark.parametrize(("status", "body", "meaning"), REPORTED.values(), ids=REPORTED)
def test_what_people_report(status: int, body: Any, meaning: str) -> None:
    """In the words of whoever says it."""
    failure = classified(status, body)
    assert f"{failure.kind} {failure.code}" == meaning
