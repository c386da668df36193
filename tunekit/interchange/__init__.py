"""Records in MetaSchedule's own files: written for stock TVM, and read back, damaged or not.

A folder holds `database_workload.json`, a line for each workload (its structural hash, its module
in base64), and `database_tuning_record.json`, a line for each record (the workload's line, the
trace, all run seconds, the target, the arguments). What the format has no place for is lost on the
way out: why candidates failed, when and on which host and with which options something was
measured, how far a noisy host was corrected for, which record won a final.
"""
