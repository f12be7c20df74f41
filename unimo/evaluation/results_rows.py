"""The rows of the results page: which numbers of a report are printed, in what words, beside what, what is wanted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """A line of a table: the key of a number, what it means, the key it stands beside, and the range wanted of it."""

    key: str
    meaning: str
    beside: str | None = None
    low: float | None = None
    high: float | None = None


ROWS = {
    "tokenizer": (
        Row("mpjpe_mm", "motion: MPJPE, mm (beside: constant pose, also below)", "constant_pose.mpjpe_mm", high=40),
        Row("pa_mpjpe_mm", "motion: PA-MPJPE, mm", "constant_pose.pa_mpjpe_mm"),
        Row("pve_mm", "motion: PVE (all vertices), mm", "constant_pose.pve_mm"),
        Row("accel_mm_per_frame2", "motion: Accel, mm/frame²", "constant_pose.accel_mm_per_frame2"),
        Row("accel_m_per_s2", "motion: Accel, m/s²", "constant_pose.accel_m_per_s2"),
        Row("jitter_10_m_per_s3", "motion: jitter, 10 m/s³ (beside: the truth's)", "data.jitter_10_m_per_s3"),
        Row("foot_sliding_mm", "motion: sliding of standing feet, mm a frame (beside: the truth's)",
            "data.foot_sliding_mm"),
        Row("root_orientation_deg", "motion: root orientation, degrees", "constant_pose.root_orientation_deg"),
        Row("root_translation_m", "motion: root translation, m", "constant_pose.root_translation_m"),
        Row("root_drift_mm", "motion: root drift at the end of the clip, mm", high=20),
        Row("codebook_use", "motion: share of the codebook in use", low=0.95),
        Row("codebook_perplexity", "motion: perplexity of the ids (of 512)"),
        Row("psnr_db", "pictures: PSNR, dB (beside: 16× down-sampled copy)", "downsampled_16x.psnr_db", low=28),
        Row("psnr_in_mask_db", "pictures: PSNR on the person, dB (beside: 16× down-sampled copy)",
            "downsampled_16x.psnr_in_mask_db", low=24),
        Row("gain_over_downsampled_16x_in_mask_db", "pictures: gain over that copy on the person, dB", low=3),
        Row("ssim", "pictures: SSIM (beside: 16× down-sampled copy)", "downsampled_16x.ssim", low=0.88),
        Row("visual_codebook_use", "pictures: share of the ids in use", low=0.6),
        Row("visual_codebook_perplexity", "pictures: perplexity of the ids"),
        Row("continuous.psnr_db", "continuous tokenizer: PSNR, dB", low=32),
        Row("continuous.psnr_in_mask_db", "continuous tokenizer: PSNR on the person, dB"),
        Row("continuous.ssim", "continuous tokenizer: SSIM"),
        Row("diffusion.psnr_db", "diffusion decoder: PSNR, dB (beside: direct)", "psnr_db"),
        Row("diffusion.psnr_in_mask_db", "diffusion decoder: PSNR on the person, dB (beside: direct)",
            "psnr_in_mask_db"),
        Row("diffusion.ssim", "diffusion decoder: SSIM (beside: direct)", "ssim"),
        Row("diffusion.gmsd", "diffusion decoder: GMSD, lower is better (beside: direct)", "gmsd"),
        Row("diffusion.sharpness_ratio", "diffusion decoder: sharpness ÷ real (beside: direct)", "sharpness_ratio"),
        Row("diffusion.flicker_error", "diffusion decoder: flicker that is not real, 0-255 (beside: direct)",
            "flicker_error"),
        Row("diffusion.flicker_error_in_mask", "the same on the person (beside: direct)", "flicker_error_in_mask"),
    ),
    "capture": (
        Row("mpjpe_mm", "MPJPE, mm (beside: constant pose, also below)", "constant_pose.mpjpe_mm"),
        Row("one_sample.mpjpe_mm", "MPJPE of one sample alone instead of the samples' mean, mm"),
        Row("ratio_to_constant_pose.mpjpe", "MPJPE ÷ constant pose", high=0.75),
        Row("mpjpe_hips_mm", "MPJPE, hips' middle at the origin, mm", "constant_pose.mpjpe_hips_mm"),
        Row("pa_mpjpe_mm", "PA-MPJPE, mm", "constant_pose.pa_mpjpe_mm"),
        Row("pve_mm", "PVE (all vertices), mm", "constant_pose.pve_mm"),
        Row("accel_mm_per_frame2", "Accel, mm/frame²", "constant_pose.accel_mm_per_frame2"),
        Row("accel_m_per_s2", "Accel, m/s²", "constant_pose.accel_m_per_s2"),
        Row("root_orientation_deg", "root orientation, degrees", "constant_pose.root_orientation_deg"),
        Row("ratio_to_constant_pose.root_orientation", "root orientation ÷ constant", high=0.5),
        Row("one_sample.root_orientation_deg", "root orientation of one sample alone, degrees"),
        Row("root_translation_m", "root translation, m", "constant_pose.root_translation_m"),
        Row("ratio_to_constant_pose.root_translation", "root translation ÷ constant", high=0.5),
        Row("one_sample.root_translation_m", "root translation of one sample alone, m"),
        Row("w_mpjpe_mm", "W-MPJPE by the true camera, mm"),
        Row("wa_mpjpe_mm", "WA-MPJPE by the true camera, mm"),
        Row("rte_percent", "RTE by the true camera, % of paths of 0.25 m and more"),
        Row("jitter_10_m_per_s3", "jitter, 10 m/s³ (beside: the truth's)", "data.jitter_10_m_per_s3"),
        Row("foot_sliding_mm", "sliding of standing feet, mm a frame (beside: the truth's)", "data.foot_sliding_mm"),
        Row("entropy_nats", "entropy of a motion token, nats (of at most 6.24)"),
    ),
    "generate": (
        Row("first_frame_psnr_db", "first frame: PSNR, dB (beside: tokenizer alone)", "tokenizer.first_frame_psnr_db"),
        Row("psnr_to_true_db", "PSNR to the true video, dB (beside: the reference repeated)",
            "still_picture.psnr_to_true_db"),
        Row("ssim_to_true", "SSIM to the true video (beside: the reference repeated)", "still_picture.ssim_to_true"),
        Row("temporal_flickering", "temporal flickering, VBench's (beside: true clips; a still picture has 1)",
            "data.temporal_flickering"),
        Row("joint_speed_m_per_s", "mean joint speed, m/s (beside: data)", "data.joint_speed_m_per_s"),
        Row("ratio_to_data.joint_speed", "joint speed ÷ data", low=0.5, high=2),
        Row("joint_color_difference_8bit", "colours at the joints against the reference, 0-255 (beside: true clips)",
            "data.joint_color_difference_8bit"),
        Row("other_person.joint_color_difference_8bit", "the same against another person's reference"),
        Row("consistency.mpjpe_mm", "MPJPE of motion captured from the generated video against the generated motion, "
            "mm (beside: against another clip's)", "consistency.other_clip.mpjpe_mm"),
        Row("strict.fid_k", "FID, kinetic, as published (beside: the first pose held)",
            "first_frame_pose.strict.fid_k"),
        Row("strict.fid_g", "FID, geometric, as published (beside: the first pose held)",
            "first_frame_pose.strict.fid_g"),
        Row("strict.diversity_k", "diversity, kinetic (beside: true clips)", "data.strict.diversity_k"),
        Row("strict.diversity_g", "diversity, geometric (beside: true clips)", "data.strict.diversity_g"),
        Row("fixed.fid_k", "FID, kinetic, repaired (beside: the first pose held)", "first_frame_pose.fixed.fid_k"),
        Row("fixed.fid_g", "FID, geometric, repaired (beside: the first pose held)", "first_frame_pose.fixed.fid_g"),
        Row("fixed.diversity_k", "diversity, kinetic, repaired (beside: true clips)", "data.fixed.diversity_k"),
        Row("fixed.diversity_g", "diversity, geometric, repaired (beside: true clips)", "data.fixed.diversity_g"),
        Row("entropy_nats", "entropy of a motion token, nats (of at most 6.24)"),
    ),
}  # fmt: skip
TITLES = {"tokenizer": "Tokenizers", "capture": "Capture", "generate": "Generate"}
BASELINES = {"first_frame_pose": "first pose held", "previous_frame": "one frame late"}
"""Columns of every table whose report has them: estimates that know the truth of other frames."""
