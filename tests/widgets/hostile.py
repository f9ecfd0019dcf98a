"""Names that try to leave the place they stand in, and cubes that have one in every place where a text can stand."""

import numpy as np

from kdlandscape.cubes.variables import dataset, variable

CORPUS = (
    '<img src=x onerror="window.hacked=1">',
    "<script>window.hacked=1</script>",
    "</script><script>window.hacked=1</script>",
    '"><svg onload=window.hacked=1>',
    "' onmouseover='window.hacked=1' autofocus onfocus='window.hacked=1",
    "<!--<script>",
    "--><img src=x onerror=window.hacked=1>",
    "</style><style>*{background:url(https://example.invalid/leak.png)}</style>",
    "</pre></title></textarea><iframe srcdoc='<script>parent.hacked=1</script>'></iframe>",
    "<link rel=stylesheet href=https://example.invalid/leak.css>",
    "<base href=https://example.invalid/><meta http-equiv=refresh content='0;url=https://example.invalid/'>",
    r"$\href{javascript:window.hacked=1}{x}$ \(\unicode{x3c}\) $\frac$",
    "&lt;img src=x onerror=window.hacked=1&gt;&#60;script&#62;",
    "{window.hacked=1} ${window.hacked=1} {{7*7}} %s %(x)s `window.hacked=1`",
    "a\nb\r\u2028\u2029\u202ec\x07\x1b[31m",
)


def hostile_cube(text):
    """Return a cube whose names, labels, units, symbols, texts and attributes all are or contain a text."""
    dim, word = f"d{text}", f"{text} word"
    axis = np.linspace(0, 1, 4)
    bowl = axis[:, None] ** 2 + axis**2 + np.arange(2)[:, None, None, None] + axis[:3, None, None] + 0.1
    marks = np.broadcast_to([[0.0, 0.0], [0.5, 0.5]], (2, 3, 2, 2))
    labels = {"long_name": f"{text} long", "symbol": f"{text}s", "units": text}
    return dataset(
        {
            f"v{text}": variable((dim, "lam", "y", "x"), bowl, f"{text} plane", text),
            "plane_points": variable((dim, "lam", "point", "axis"), marks, text, text),
            f"c{text}": variable((dim, "lam"), bowl[..., 0, 0], f"{text} curve", text),
            "path_loss": variable(("lam", "t"), bowl[0, :, 0], f"{text} from {text} (t = 0)", text),
            "top_eigenvalues": variable((dim, "lam", "eigenvalue"), bowl[..., 0], f"{text} eigenvalue", text),
            "no": variable((dim, word), np.full((2, 2), np.nan), text, text),
        },
        coords={
            dim: (dim, [word, f"other {text}"], labels),
            "lam": ("lam", axis[:3], labels),
            word: [f"{text} 1", f"{text} 2"],
            "x": ("x", axis, labels),
            "y": ("y", axis, labels),
            "t": ("t", axis, labels),
            "point": [f"{text} p", f"{text} q"],
            "axis": ["x", "y"],
        },
        study=text,
        description=text,
    )
