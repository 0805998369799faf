"""Sections 4 and 6: a hybrid DNN-HMM acoustic model on speech, its ensemble distilled, its words decoded."""
