"""What can be checked before a run: settings, files, folders, and one small call per app_id and model."""
