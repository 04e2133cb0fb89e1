"""What the HTTP library logs, without addresses: a path or a query may name a patient.

Belongs here: what urllib3 may say in a log. Does not belong here: requests, or our own messages.

urllib3 logs every request's path and query at DEBUG, and at WARNING headers it could not read. The
pages after the first are asked for at addresses the source made up (`?after=Miller&phone=…`), and
Medplum searches name identifiers. Where somebody turns DEBUG on, method, host and status are left.
"""

import logging

LOGGERS = (
    "urllib3.connectionpool",
    "urllib3.connection",
    "urllib3.poolmanager",
    "urllib3.util.retry",
)
_REQUEST = '%s://%s:%s "%s %s %s" %s %s'
_ADDRESS = 4  # among the arguments of _REQUEST
_HARMLESS = (
    "Starting new HTTP connection",
    "Starting new HTTPS connection",
    "Resetting dropped connection",
    "Connection pool is full",
    "Converted retries value",
    "Certificate did not match",
)


def keep_addresses_private() -> None:
    """Have urllib3 log no path, query or header; calling it again changes nothing."""
    for name in LOGGERS:
        logging.getLogger(name).addFilter(_without_address)


def _without_address(record: logging.LogRecord) -> bool:
    """Rewrite a record; True, as every record stays. What a new urllib3 says is left out whole."""
    text, said = str(record.msg), record.args
    if text == _REQUEST and isinstance(said, tuple) and len(said) > _ADDRESS:
        record.args = (*said[:_ADDRESS], "(address left out)", *said[_ADDRESS + 1 :])
    elif not text.startswith(_HARMLESS):
        record.msg = "urllib3 said something in %s; left out, it may name a patient"
        record.args = (record.funcName,)
        record.exc_info = record.exc_text = record.stack_info = None
    return True
