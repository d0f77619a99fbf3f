defmodule DSPex.Protocol.Versions do
  @moduledoc """
  Whether this package and the Python package of a worker belong together (`proto/PROTOCOL.md`, section 12).
  """

  alias DSPex.Error

  # The package that is released with this one; a server of another name has versions of its own.
  @server "python_bridge"

  @doc """
  Compares this package's version with what `initialize` says of the server. They agree in the major number, below 1.0 in
  the minor one too; the patch, and what stands behind it, is free. A version that cannot be read is not compared.

      iex> DSPex.Protocol.Versions.check("0.1.4", %{"name" => "python_bridge", "version" => "0.1.0.dev3"})
      :ok
      iex> DSPex.Protocol.Versions.check("1.2.0", %{"name" => "python_bridge", "version" => "1.7.1"})
      :ok
      iex> {:error, error} = DSPex.Protocol.Versions.check("0.1.0", %{"name" => "python_bridge", "version" => "0.2.0"})
      iex> error.details
      %{"dspex" => "0.1.0", "python_bridge" => "0.2.0"}
  """
  @spec check(String.t() | nil, term) :: :ok | {:error, Error.t()}
  def check(own, %{"name" => @server, "version" => theirs}) do
    with {:ok, line} <- line(own),
         {:ok, other} when other != line <- line(theirs) do
      {:error, mismatch(own, theirs)}
    else
      _same_or_unreadable -> :ok
    end
  end

  def check(_own, _server), do: :ok

  # What must be equal.
  defp line(version) when is_binary(version) and byte_size(version) <= 100 do
    case Regex.run(~r/\A(\d{1,9})\.(\d{1,9})(?!\d)/, version) do
      [_all, "0", minor] -> {:ok, {"0", minor}}
      [_all, major, _minor] -> {:ok, major}
      nil -> :error
    end
  end

  defp line(_version), do: :error

  defp mismatch(own, theirs) do
    text =
      "the worker's Python has python_bridge #{theirs}, this is dspex #{own}; run `mix dspex.setup`, which installs the " <>
        "same version of both (or allow it with the pool's option version_mismatch: :allow)"

    Error.new(:unavailable, text, details: %{"dspex" => own, "python_bridge" => theirs})
  end
end
