"""`python -m tfgates`: the command `tfgates`, after all of the package and what TensorFlow says while it loads."""

import tfgates_cli

if __name__ == "__main__":
    tfgates_cli.main()
