"""From scheduled kernels to code: narrow indices, work stealing, the build."""
