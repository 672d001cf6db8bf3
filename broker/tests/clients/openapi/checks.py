"""What Schemathesis does not check of itself, and calls that it must not make as it likes."""

import schemathesis


@schemathesis.check
class every_operation_succeeds_once:
    """Without one answer of success an operation was only refused, and nothing is known of what it answers."""

    def __init__(self, *, never=()):
        self.never = set(never)
        self.tested = set()
        self.succeeded = set()

    def after_response(self, ctx, response, case):
        label = case.operation.label
        self.tested.add(label)
        if 200 <= response.status_code < 300:
            self.succeeded.add(label)

    def after_run(self, ctx):
        left = sorted(self.tested - self.succeeded - self.never)
        if left:
            raise AssertionError("never succeeded: " + ", ".join(left))


@schemathesis.check
def problems_are_documents(ctx, response, case):
    """RFC 9457: an error is a document that says its own status."""
    if response.status_code < 400 or case.method.upper() == "HEAD":
        return
    kind = response.headers.get("content-type", [""])[0]
    if kind.startswith("application/json") and response.status_code == 503:
        return  # a probe that says what is wrong
    if not kind.startswith("application/problem+json"):
        raise AssertionError(f"{response.status_code} is {kind or 'of no type'}")
    if response.json()["status"] != response.status_code:
        raise AssertionError("the document has another status than the answer")
