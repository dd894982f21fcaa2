from larix.serve.service import ModelStatus, State, VersionStatus


def test_a_model_is_ready_if_its_live_version_is():
    old = VersionStatus(version="1", state=State.READY)
    new = VersionStatus(version="2", state=State.LOADING)
    assert ModelStatus(name="feed", versions=(new, old), live="1").ready
    assert not ModelStatus(name="feed", versions=(new, old), live="2").ready
    assert not ModelStatus(name="feed", versions=(new, old)).ready
