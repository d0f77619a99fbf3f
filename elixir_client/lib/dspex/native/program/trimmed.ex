defmodule DSPex.Native.Program.Trimmed do
  @moduledoc false
  # Pieces of one text without the white space around the whole.

  alias DSPex.Native.Python

  defstruct started?: false, held: ""

  @type t :: %__MODULE__{started?: boolean, held: String.t()}

  @doc "What may go out now; white space waits until something follows it."
  @spec push(t, String.t()) :: {String.t(), t}
  def push(%{started?: false} = trimmed, text) do
    case Python.strip_leading(text) do
      "" -> {"", trimmed}
      text -> push(%{trimmed | started?: true}, text)
    end
  end

  def push(trimmed, text) do
    text = trimmed.held <> text
    kept = Python.strip_trailing(text)
    size = byte_size(kept)
    {kept, %{trimmed | held: binary_part(text, size, byte_size(text) - size)}}
  end
end
