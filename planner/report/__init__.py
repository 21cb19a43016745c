"""Results of a study in words, tables, JSON and pages, and an engine's log in words. Reads trials, launches nothing.

In: a `Problem` and its trials, or a log. Out: what Rich prints, documents, a page. Read `verdict.py` first.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "document": ["plan_document", "summary"],
        "live": ["TerminalSession"],
        "log.beside_study": ["compare_with_study"],
        "log.document": ["event_json", "exit_code_of", "json_line", "log_document"],
        "log.remedies": ["remedies"],
        "log.source": ["open_log", "read_source"],
        "log.view": ["event_text", "log_view"],
        "notify": ["Event", "Notified", "Receiver", "notified", "receiver_of"],
        "plan": ["infeasible_words", "nothing_words"],
        "stored": ["print_report", "report_document", "report_lines", "report_page", "where_words"],
        "trial_table": ["trials_table"],
        "verdict": ["judged"],
        "view": ["conclusion", "in_short", "plan_view", "result_tables"],
        "watch_server": ["run_watch"],
    },
)
