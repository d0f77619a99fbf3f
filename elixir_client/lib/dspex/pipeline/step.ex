defmodule DSPex.Pipeline.Step do
  @moduledoc """
  One step of a built pipeline: what it runs, which fields it needs and gives, and what happens when it fails.

  `gives` is `:unknown` for a function that does not say what it gives.
  """

  @enforce_keys [:kind, :name, :path]
  defstruct [:kind, :name, :path, :body, :as, :compensate, :on_progress] ++
              [children: [], needs: [], gives: [], timeout: :infinity, retries: 0, on_error: :halt, max_concurrency: 8] ++
              [options: []]

  @type t :: %__MODULE__{
          kind: :function | :native | :program | :pipeline | :parallel | :conditional | :map | :reduce,
          name: String.t(),
          path: String.t(),
          body: term,
          as: String.t() | nil,
          children: [t],
          needs: [String.t()],
          gives: [String.t()] | :unknown,
          timeout: timeout,
          retries: non_neg_integer,
          on_error: :halt | :continue | {:fallback, t},
          compensate: (map, map -> term) | nil,
          max_concurrency: pos_integer,
          options: keyword
        }
end
