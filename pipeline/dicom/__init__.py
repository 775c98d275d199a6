"""DICOM: reading instances, and speaking DICOM with the systems around us."""
