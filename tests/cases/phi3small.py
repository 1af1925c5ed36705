"""Phi-3-small: loops from the published description."""

from references import phi3small

from cases import VOCAB, Case

OWN = {
    "vocab_size": 100352, "max_position_embeddings": 8192, "rope_embedding_base": 1e6,
    "rope_position_scale": 1.0, "rope_scaling": None, "hidden_size": 4096,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8,
    "hidden_act": "gegelu", "gegelu_limit": 20.0, "gegelu_pad_to_256": True,
    "ff_dim_multiplier": None, "ff_intermediate_size": 14336,
    "blocksparse_homo_head_pattern": False, "blocksparse_block_size": 64,
    "blocksparse_num_local_blocks": 16, "blocksparse_vert_stride": 8,
    "blocksparse_triton_kernel_block_size": 64, "dense_attention_every_n_layers": 2,
    "embedding_dropout_prob": 0.1, "attention_dropout_prob": 0.0, "ffn_dropout_prob": 0.1,
    "layer_norm_epsilon": 1e-5, "initializer_range": 0.02, "mup_use_scaling": True,
    "mup_width_multiplier": 8.0, "mup_embedding_multiplier": 10.0, "mup_attn_multiplier": 1.0,
    "use_cache": True, "bos_token_id": 100257, "eos_token_id": 100257,
    "reorder_and_upcast_attn": False, "pad_sequence_to_multiple_of_64": True,
    "dummy_token_indices": None, "tie_word_embeddings": True,
}  # fmt: skip
TINY = {
    "model_type": "phi3small",
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "ff_intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "layer_norm_epsilon": 1e-5,
    "rope_embedding_base": 10000.0,
    "blocksparse_block_size": 4,
    "blocksparse_num_local_blocks": 2,
    "blocksparse_vert_stride": 4,
    "dense_attention_every_n_layers": 2,
    "gegelu_limit": 0.5,
    "dummy_token_indices": [88, 90, 91],
    "eos_token_id": 2,
}
# Other numbers than those of its own code's defaults show that each is read.
SCALES = {
    "mup_attn_multiplier": 1.7,
    "mup_width_multiplier": 0.6,
    "mup_embedding_multiplier": 3.1,
    "layer_norm_epsilon": 0.05,
    "blocksparse_vert_stride": 8,
}
CASE = Case(
    tiny=TINY,
    reference=phi3small,
    variants={"phi3small": SCALES},
    own=OWN,
    refused={"gguf": "llama.cpp has no architecture that computes"},
)
