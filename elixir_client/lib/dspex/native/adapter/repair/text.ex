defmodule DSPex.Native.Adapter.Repair.Text do
  @moduledoc false
  # A text of json_repair as far as it is read, and what its delimiters are.

  # `text` is reversed, `right` a stack whose last is the outer delimiter.
  defstruct left: ?",
            right: [?"],
            text: [],
            length: 0,
            bare?: false,
            doubled?: false,
            unmatched?: false,
            pending?: false,
            stack: [],
            no_delimiter?: false,
            braces: 0,
            class: nil

  @type t :: %__MODULE__{}

  # Marks a span in low quotes on the stack of right delimiters.
  @low 0

  @doc "The delimiter that ends the whole text."
  @spec outer(t) :: non_neg_integer
  def outer(%__MODULE__{right: right}), do: List.last(right)

  @doc "Whether it stands inside a span in low quotes („…”)."
  @spec low?(t) :: boolean
  def low?(%__MODULE__{right: [@low | _outer]}), do: true
  def low?(_text), do: false

  @doc "The text with such a span begun."
  @spec open_low(t) :: t
  def open_low(%__MODULE__{right: right} = text), do: %{text | right: [@low | right]}

  @doc "The text with the innermost span ended."
  @spec close(t) :: t
  def close(%__MODULE__{right: [_inner | right]} = text), do: %{text | right: right}

  @doc "Whether its last character is a backslash."
  @spec escaped?(t) :: boolean
  def escaped?(%__MODULE__{text: [?\\ | _before]}), do: true
  def escaped?(_text), do: false

  @doc "The text with more characters."
  @spec add(t, [non_neg_integer]) :: t
  def add(state, chars), do: Enum.reduce(chars, state, &add_char/2)

  defp add_char(char, state) do
    state = %{state | text: [char | state.text], length: state.length + 1}

    case char do
      ?{ -> %{state | braces: state.braces + 1}
      ?} -> %{state | braces: max(state.braces - 1, 0)}
      ?[ -> %{state | class: state.length}
      ?] -> %{state | class: nil}
      _char -> state
    end
  end
end
