"""The one error a user can cause: the command prints it in one line and exits with code 2."""


class UserError(Exception):
    """Bad input from outside: the message is one clear line saying what is wrong, where, and what to do."""
