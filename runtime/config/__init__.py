"""Settings: ``settings.py`` puts the tables together, one file each; ``file.py`` reads the file and the environment, ``lines.py``
finds the line of an error, ``importing.py`` takes over what others' files say. Imports of the house only what a setting names.
"""
