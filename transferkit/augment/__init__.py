"""Raw texts -> synthetic positive pairs: paraphrases, back-translations and light noise, filtered, as a train set.

Contrastive fine-tuning on such pairs needs no labels (Roth et al., arXiv 2507.22729).
"""
