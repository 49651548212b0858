"""Baton's error hierarchy: each has a stable ``code`` and says what was expected and what to do."""


class BatonError(Exception):
    """The root of every error that Baton raises on purpose."""

    code = "baton_error"


class SettingsError(BatonError):
    """A setting is missing or wrong."""

    code = "invalid_settings"


class UndecodableError(BatonError):
    """Bytes that are not a message of the kind the topic carries."""

    code = "undecodable"


class TopicError(BatonError):
    """A topic is missing, or not as the topic table says."""

    code = "invalid_topic"


class StoreError(BatonError):
    """A model file cannot be read, written or trusted."""

    code = "store_error"


class ModelError(BatonError):
    """A model cannot be saved, or used beside another: it is unreadable, or does not predict."""

    code = "invalid_model"
