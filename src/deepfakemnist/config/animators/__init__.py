"""Settings of animators, a class each; :mod:`.registry` finds the class of a name, plug-ins included."""
