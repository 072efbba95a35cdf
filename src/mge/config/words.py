"""Option names of other tools, translated to MGE's for error messages."""

from collections.abc import Collection

# Our options and commands with the same meaning, in order of preference.
MEANT: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("model", "arch", "architecture", "net", "network", "encoder"), ("backbone", "run")),
    **dict.fromkeys(("imgsz", "img_size", "image_size", "input_size", "resolution", "img", "crop_size"), ("size",)),
    **dict.fromkeys(("amp", "fp16", "bf16", "half", "mixed_precision", "use_amp", "dtype"), ("precision",)),
    **dict.fromkeys(("val_split", "validation_split", "val_size", "valid_pct", "val_ratio"), ("val_fraction",)),
    **dict.fromkeys(("test_split", "test_size", "test_pct", "test_ratio"), ("test_fraction",)),
    **dict.fromkeys(
        ("name", "project", "output_dir", "save_dir", "run_name", "exp_name", "experiment", "logdir", "log_dir"),
        ("out", "output"),
    ),
    **dict.fromkeys(("lr0", "learning_rate", "base_lr", "max_lr"), ("head_lr",)),
    **dict.fromkeys(
        ("early_stopping", "early_stopping_patience", "early_stopping_rounds", "min_delta"), ("early_stop",)
    ),
    **dict.fromkeys(("max_time", "timeout", "max_hours", "time_budget"), ("time_limit",)),
    **dict.fromkeys(("batch", "bs", "train_batch_size", "per_device_train_batch_size"), ("batch_size",)),
    **dict.fromkeys(("num_epochs", "n_epochs", "num_train_epochs", "max_epochs", "nb_epoch"), ("epochs",)),
    **dict.fromkeys(("num_workers", "dataloader_num_workers", "nw", "jobs", "n_jobs"), ("workers", "threads")),
    **dict.fromkeys(("gpus", "gpu", "num_gpus", "world_size"), ("devices", "device", "accelerator")),
    **dict.fromkeys(("device", "cuda"), ("accelerator", "device")),
    **dict.fromkeys(("checkpoint", "ckpt", "ckpt_path", "resume_from_checkpoint"), ("resume", "run")),
    **dict.fromkeys(("pretrained_weights", "init_weights", "load", "finetune"), ("weights", "run", "train")),
    **dict.fromkeys(("gradient_accumulation_steps", "accumulate_grad_batches", "accum_iter"), ("accumulate",)),
    **dict.fromkeys(("wd", "l2", "decay_rate"), ("weight_decay",)),
    **dict.fromkeys(("scheduler", "lr_scheduler", "lr_scheduler_type", "sched", "cos_lr"), ("decay",)),
    **dict.fromkeys(("smoothing",), ("label_smoothing",)),
    **dict.fromkeys(("model_ema", "ema_decay", "use_ema"), ("ema",)),
    **dict.fromkeys(("opt", "optim"), ("optimizer",)),
    **dict.fromkeys(("warmup", "warmup_ratio", "warmup_steps"), ("warmup_epochs",)),
    **dict.fromkeys(("grad_clip", "clip_grad", "gradient_clip_val", "max_grad_norm"), ("clip_norm",)),
    **dict.fromkeys(("augment", "aug", "auto_augment", "aa", "rand_augment"), ("randaugment",)),
    **dict.fromkeys(("fliplr", "hflip", "horizontal_flip"), ("flip",)),
    **dict.fromkeys(("reprob", "random_erasing"), ("erasing",)),
    **dict.fromkeys(("class_weights", "weighted_sampler", "class_weight"), ("balance",)),
    **dict.fromkeys(("random_state", "random_seed", "manual_seed"), ("seed",)),
    **dict.fromkeys(("save_period", "save_steps", "save_every"), ("checkpoint_steps",)),
    **dict.fromkeys(("source", "images", "imgs", "input", "files"), ("photos", "data")),
    **dict.fromkeys(("dataset", "data_dir", "train_dir", "root", "data_path"), ("data",)),
    **dict.fromkeys(("topk", "top_k", "k", "num_classes_shown"), ("top",)),
    **dict.fromkeys(("probs", "proba", "return_probs", "all_probs", "scores", "save_conf"), ("probabilities",)),
    **dict.fromkeys(("conf_thres", "score_threshold", "min_confidence", "cutoff"), ("threshold", "reject")),
    **dict.fromkeys(("save", "save_txt", "outfile", "out"), ("output",)),
    "output": ("out",),
    **dict.fromkeys(("freeze", "frozen", "freeze_layers", "unfreeze", "freeze_at"), ("freeze_backbone",)),
    **dict.fromkeys(("fit", "learn"), ("train",)),
    **dict.fromkeys(("test", "val", "validate", "eval", "score"), ("evaluate",)),
    **dict.fromkeys(("infer", "inference", "classify", "detect", "run"), ("predict",)),
    **dict.fromkeys(("benchmark", "speed", "profile"), ("bench",)),
    **dict.fromkeys(("visualize", "visualise", "gradcam", "cam"), ("explain",)),
    **dict.fromkeys(("upload", "publish"), ("push",)),
}
NOT_THERE = "there is no option for it: "
LOGGING = f"{NOT_THERE}the run folder's metrics.csv has the figures of each epoch as they come, for any logger."
# The alternative where there is no such option.
INSTEAD_OF: dict[str, str] = {
    **dict.fromkeys(
        ("wandb", "tensorboard", "mlflow", "logger", "report_to", "log_wandb", "comet", "clearml"), LOGGING
    ),
    **dict.fromkeys(
        ("dropout", "drop", "drop_rate", "drop_path", "drop_path_rate"),
        f"{NOT_THERE}against overfitting there are --weight-decay, --label-smoothing, --mixup, --erasing and --jitter.",
    ),
    **dict.fromkeys(
        ("gradient_checkpointing", "grad_checkpointing", "activation_checkpointing"),
        f"{NOT_THERE}a smaller --batch-size with --accumulate, --precision bfloat16 or --schedule progressive save "
        "memory.",
    ),
    "patience": (
        "did you mean 'early_stop' (epochs without better validation accuracy), or 'process_timeout' (seconds to wait "
        "for other processes), which had this name?"
    ),
    **dict.fromkeys(
        ("lr_find", "auto_lr_find", "find_lr", "lr_finder"),
        f"{NOT_THERE}the default learning rates are tuned for their preset's batch size; set --head-lr and "
        "--backbone-lr to change them.",
    ),
    **dict.fromkeys(
        ("num_classes", "nc", "n_classes", "classes"), f"{NOT_THERE}the classes are those that the photos have."
    ),
    **dict.fromkeys(
        ("loss", "criterion", "loss_fn", "focal"),
        f"{NOT_THERE}--label-smoothing, --balance and --diversity change the loss.",
    ),
    "momentum": f"{NOT_THERE}sgd uses a momentum of 0.9.",
}


def translate(word: str, known: Collection[str]) -> str:
    """Return a hint for the name of another tool's option; empty if there is none.

    Args:
        word: The name that was typed.
        known: The valid names.
    """
    options = [name for name in MEANT.get(word, ()) if name in known]
    if options:
        return f"did you mean {options[0]!r}?"
    return INSTEAD_OF.get(word, "") if "backbone_lr" in known else ""
