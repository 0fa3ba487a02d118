//! The table that the benchmark prints.

/// What a measurement ought to be.
#[derive(Debug, Clone, Copy)]
pub enum Goal {
    None,
    AtLeast(f64),
    AtMost(f64),
}

/// A goal in words, and whether it is met.
pub type Verdict = Option<(String, bool)>;

impl Goal {
    pub fn met(self, measured: f64) -> Verdict {
        match self {
            Self::None => None,
            Self::AtLeast(goal) => {
                let text = if goal < 10.0 { goal.to_string() } else { count(goal) };
                Some((format!("at least {text}"), measured >= goal))
            }
            Self::AtMost(goal) => Some((format!("at most {goal}"), measured <= goal)),
        }
    }
}

#[derive(Debug, Default)]
pub struct Table {
    rows: Vec<[String; 4]>,
    missed: usize,
}

impl Table {
    /// Adds a row, and shows it at once: the whole takes minutes.
    pub fn row(&mut self, what: &str, measured: &str, beside: &str, verdict: Verdict) {
        let goal = match verdict {
            None => String::new(),
            Some((goal, true)) => format!("{goal}: met"),
            Some((goal, false)) => {
                self.missed += 1;
                format!("{goal}: MISSED")
            }
        };
        eprintln!("{what}: {measured} {goal}");
        self.rows.push([what.to_owned(), measured.to_owned(), goal, beside.to_owned()]);
    }

    /// Whether every goal was met.
    pub fn print(&self) -> bool {
        println!();
        let head = ["what", "measured", "goal", "beside it, in the same run"].map(str::to_owned);
        let rows = || std::iter::once(&head).chain(&self.rows);
        let width = |column: usize| rows().map(|row| row[column].len()).max().unwrap_or(0);
        let [what, measured, goal] = [0, 1, 2].map(width);
        for [a, b, c, d] in rows() {
            let line = format!("{a:what$}  {b:>measured$}  {c:goal$}  {d}");
            println!("{}", line.trim_end());
        }
        println!("\n{} goals missed", self.missed);
        self.missed == 0
    }
}

/// A number with its thousands apart.
pub fn count(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// Milliseconds.
pub fn ms(number: f64) -> String {
    format!("{number:.1} ms")
}
