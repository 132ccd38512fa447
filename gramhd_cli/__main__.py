"""`python -m gramhd_cli`: the `gramhd` program where a module is wanted, as by torchrun."""

from gramhd_cli.app import main

if __name__ == "__main__":
    main()
