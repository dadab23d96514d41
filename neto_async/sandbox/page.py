"""Stub."""
from neto_async.sandbox.transmission import HttpReply
def page_for(store, method, path, query, headers):
    return HttpReply(body=b"<html></html>")
