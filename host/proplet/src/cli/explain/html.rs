//! The tree as one page of HTML that needs nothing else: no script, no picture, no font, no link.

use super::node::{Mark, Node};

/// Allows nothing but the style in the page, should something get past the escaping.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
const STYLE: &str = "
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 72em; padding: 0 1em; color: #1c1c1c;
  background: #fff; }
h1 { font-size: 1.4em; } h2 { font-size: 1.1em; border-bottom: 1px solid #ccc; margin-top: 1.6em; }
ul { list-style: none; padding-left: 1.3em; margin: .2em 0; } section > ul { padding-left: 0; }
li { margin: .15em 0; overflow-wrap: anywhere; } b { font-weight: 600; } code { font-size: .92em; }
.holds::before { content: '\\2713  '; color: #17692f; } .open::before { content: '?  '; color: #8a5a00; }
.warning { background: #fde8e6; padding: .2em .5em; } .warning::before { content: '!  '; color: #a3170c; }
summary { cursor: pointer; }
@media (prefers-color-scheme: dark) { body { color: #e6e6e6; background: #161616; } .warning { background: #4a1512; } }
";
/// Lists that are longer than this are folded.
const FOLDED: usize = 40;

/// The page. `title` and `foot` are words of ours, escaped all the same.
pub(in crate::cli) fn page(title: &str, foot: &str, tree: &[Node]) -> String {
    let (title, foot) = (escaped(title), escaped(foot));
    let mut body = String::new();
    for node in tree {
        let class = class(node.mark);
        let (name, text) = (escaped(&node.name), escaped(&node.text));
        body.push_str(&format!("<section><h2{class}>{name}</h2><p>{text}</p>\n"));
        list(&mut body, &node.children);
        body.push_str("</section>\n");
    }
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>{title}</title><style>{STYLE}</style></head>\n\
         <body><h1>{title}</h1>\n{body}<p><small>{foot}</small></p></body></html>\n"
    )
}

fn list(page: &mut String, nodes: &[Node]) {
    if nodes.is_empty() {
        return;
    }
    let folded = nodes.len() > FOLDED;
    if folded {
        page.push_str(&format!(
            "<details><summary>{} lines</summary>",
            nodes.len()
        ));
    }
    page.push_str("<ul>\n");
    for node in nodes {
        let class = class(node.mark);
        page.push_str(&format!("<li{class}>"));
        if !node.name.is_empty() {
            page.push_str(&format!("<b>{}</b> ", escaped(&node.name)));
        }
        let text = escaped(&node.text);
        if is_code(&node.text) {
            page.push_str(&format!("<code>{text}</code>"));
        } else {
            page.push_str(&text);
        }
        list(page, &node.children);
        page.push_str("</li>\n");
    }
    page.push_str("</ul>");
    if folded {
        page.push_str("</details>");
    }
}

fn class(mark: Mark) -> &'static str {
    match mark {
        Mark::Plain => "",
        Mark::Holds => " class=\"holds\"",
        Mark::Open => " class=\"open\"",
        Mark::Warning => " class=\"warning\"",
    }
}

/// Digests and other long words.
fn is_code(text: &str) -> bool {
    text.len() > 16 && !text.contains(' ')
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_page_holds_the_tree_and_no_markup_of_strangers() {
        let evil = "</li><script>alert(1)</script>\"' onload=x";
        let many = (0..41).map(|number| Node::new("record", format!("{number}")));
        let tree = [
            Node::new("Verdict", evil).marked(Mark::Open).with(vec![
                Node::new(evil, "").marked(Mark::Warning),
                Node::hex("digest", &[7; 32]).marked(Mark::Holds),
            ]),
            Node::new("Log", "").with(many.collect()),
        ];
        let page = page("A & B", evil, &tree);
        assert!(!page.contains("<script"));
        assert!(
            page.contains("&lt;/li&gt;&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39; onload=x")
        );
        assert!(page.contains("<title>A &amp; B</title>"));
        assert!(page.contains(&format!("<code>{}</code>", "07".repeat(32))));
        assert!(page.contains("<summary>41 lines</summary>"));
        for outside in ["http:", "https:", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert_eq!(page.matches("<ul>").count(), page.matches("</ul>").count());
    }

    proptest! {
        #[test]
        fn any_text_stays_text(name in ".{0,40}", text in ".{0,80}") {
            let page = page("t", "f", &[Node::new("n", "").with(vec![Node::new(&name, &text)])]);
            let body = page.split("<ul>").nth(1).unwrap().split("</ul>").next().unwrap();
            let tags = ["<li>", "<b>", "</b>", "<code>", "</code>", "</li>"];
            let bare = tags.iter().fold(body.to_owned(), |body, tag| body.replacen(tag, "", 1));
            prop_assert!(!bare.contains(['<', '>', '"', '\'']), "{}", bare);
        }
    }
}
