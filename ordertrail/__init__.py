"""Ordertrail places orders at an exchange and never loses or doubles one."""

__version__ = "0.1.0"
