"""Views of runs in notebooks that go on by themselves while a run trains; their static form is in `listing`."""
